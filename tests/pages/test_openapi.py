"""The description against the tables that it is made of."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.api.endpoints import PREFIXES
from appliance.domain.calls import Operation
from appliance.errors import TABLE
from appliance.pages.openapi import openapi
from appliance.translate.messages_request import MessagesRequest
from appliance.wire.openai_request import REQUESTS
from tests.pages.test_described import table_of


@pytest.fixture
async def document(tmp_path: Path) -> dict[str, Any]:
    made = openapi(await table_of(tmp_path), "0.1.0")
    return json.loads(msgspec.json.encode(made))  # type: ignore[no-any-return]


async def test_it_has_every_route_once_under_its_first_name(document: dict[str, Any], tmp_path: Path) -> None:
    aliases = {path for operation in Operation for path in operation.aliases}
    expected = {
        (route.method, route.template)
        for route in await table_of(tmp_path)
        if not route.template.startswith(PREFIXES[1]) and route.template not in aliases and route.template != "/docs/"
    }
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == expected


async def test_every_code_of_the_error_table_is_told_with_its_status(document: dict[str, Any]) -> None:
    for dialect in ("openai", "messages"):
        found = {
            code: int(name.rpartition("-")[2])
            for name, answer in document["components"]["responses"].items()
            if name.startswith(dialect)
            for code in re.findall(r"^`(\w+)`: ", answer["description"], re.MULTILINE)
        }
        assert found == {code: row.status for code, row in TABLE.items()}
    assert document["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"] == sorted(
        TABLE
    )


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in re.findall(r'"\$ref":"#/([^"]+)"', msgspec.json.encode(document).decode()):
        place = document
        for part in reference.split("/"):
            place = place[part]
        assert place


async def test_operation_ids_are_words_and_unique(document: dict[str, Any]) -> None:
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"\w+", one) for one in ids)


@pytest.mark.parametrize("operation", [*REQUESTS, Operation.MESSAGES])
async def test_a_body_is_what_it_is_read_into(document: dict[str, Any], operation: Operation) -> None:
    structure = REQUESTS.get(operation, MessagesRequest)
    content = document["paths"][operation.path]["post"]["requestBody"]["content"]["application/json"]
    schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    fields = msgspec.structs.fields(structure)
    assert list(schema["properties"]) == [field.encode_name for field in fields]
    assert schema["required"] == [field.encode_name for field in fields if field.required]


async def test_ranges_are_those_that_are_checked(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["Chat"]["properties"]
    assert {"type": "number", "minimum": 0, "maximum": 2} in properties["temperature"]["anyOf"]
    assert properties["messages"]["minItems"] == 1


async def test_what_a_key_needs_is_said_and_open_routes_need_none(document: dict[str, Any]) -> None:
    paths = document["paths"]
    assert paths["/healthz"]["get"]["security"] == []
    assert "`admin`" in paths["/ops/v1/state"]["get"]["description"]
    assert "security" not in paths["/v1/chat/completions"]["post"]
    assert list(paths["/v1/realtime"]["get"]["responses"])[0] == "101"  # noqa: RUF015 - the first is what is shown first
    assert list(paths["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]) == ["multipart/form-data"]
    assert "/rerank" in paths["/v1/rerank"]["post"]["description"]


async def test_the_headers_of_a_callers_own_key_stand_where_a_provider_can_be_asked(document: dict[str, Any]) -> None:
    with_them = {
        path
        for path, methods in document["paths"].items()
        if "x-byok-provider" in [one["name"] for one in methods.get("post", {}).get("parameters", [])]
    }
    assert with_them == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
    }
