"""The API as an OpenAPI document, made of the tables that the server itself goes by: routes, operations, errors.

Request bodies are the structures that requests are read into, so that a field's type and range here are those that are
checked. What an engine takes beyond them passes as it is; its answers are its own and described in their APIs.
"""

import re
from collections.abc import Sequence
from typing import Any

from appliance.api.endpoints import PREFIXES
from appliance.api.routes import Route
from appliance.domain.calls import Dialect, Grammar, Operation
from appliance.domain.engines import ENGINES
from appliance.domain.providers import PROVIDERS
from appliance.errors import TABLE
from appliance.pages.described import OPERATIONS, OTHERS, Words
from appliance.pages.schema import Schemas
from appliance.translate.messages_request import MessagesRequest
from appliance.wire.openai_request import REQUESTS

Document = dict[str, Any]
_NO_WORD = re.compile(r"\W+")
_BODIES: dict[Operation, Any] = {
    **REQUESTS,
    Operation.MESSAGES: MessagesRequest,
    Operation.COUNT_TOKENS: MessagesRequest,
}
_FORM = {
    "type": "object",
    "required": ["model"],
    "properties": {"model": {"type": "string"}, "file": {"type": "string", "format": "binary"}},
}
_NAMED = {"type": "object", "required": ["model"], "properties": {"model": {"type": "string"}}}
_REFS = "#/components/schemas/{name}"
_BY_SCOPE = {"": set[int](), "infer": {401, 403, 429}, "metrics": {401, 403}, "admin": {401, 403}}
_NOT_OF_A_ROUTE = {405, 408, 421, 431}  # of the connection, or of the table as a whole


def openapi(routes: Sequence[Route], version: str) -> Document:
    """The document.

    Args:
        routes: the table; second names of paths are left out, and told in words.
        version: of the program.
    """
    schemas = Schemas()
    bodies = {operation: schemas.of(structure) for operation, structure in _BODIES.items()}
    paths: dict[str, Document] = {}
    for route in routes:
        operation = _OPERATION_OF.get(route.template)
        if operation is not None:
            described = _operation(operation, bodies.get(operation, _FORM if operation.form else _NAMED))
        elif (route.method, route.template) in OTHERS:
            described = _other(route, OTHERS[route.method, route.template])
        else:
            continue  # a second name
        paths.setdefault(route.template, {})[route.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Appliance", "version": version, "description": _about()},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"key": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas.made | {"Error": _ERROR, "MessagesError": _MESSAGES_ERROR},
            "responses": _refusals(Dialect.OPENAI) | _refusals(Dialect.MESSAGES),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


_OPERATION_OF = {operation.path: operation for operation in Operation}
_MEMBERS = {
    "message": {"type": "string"},
    "type": {"type": "string"},
    "param": {"type": ["string", "null"]},
    "code": {"type": "string", "enum": sorted(TABLE)},
}
_ERROR: Document = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "object", "required": sorted(_MEMBERS), "properties": _MEMBERS},
        "request_id": {"type": "string"},
    },
}
_MESSAGES_ERROR: Document = _ERROR | {
    "required": ["type", "error"],
    "properties": {"type": {"const": "error"}} | _ERROR["properties"],
}


_BYOK: list[Document] = [
    {
        "name": "x-byok-provider",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "enum": sorted(PROVIDERS)},
        "description": "Ask this provider, with a key of your own.",
    },
    {
        "name": "x-byok-api-key",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": "That key; it goes to the provider and nowhere else.",
    },
]


def _about() -> str:
    first, second = PREFIXES
    return (
        f"Every path below {first} is also below {second}. Fields that are not listed pass to the engine as they are; "
        "its answers are those of the API that it speaks. The documents at /docs say the rest."
    )


def _operation(operation: Operation, schema: Document) -> Document:
    statuses = {row.status for row in TABLE.values()} - _NOT_OF_A_ROUTE
    described: Document = {
        "operationId": str(operation),
        "summary": OPERATIONS[operation],
        "tags": [operation.dialect if not operation.socket else "realtime"],
        "responses": _answers(operation) | _refused(statuses, operation.dialect),
    }
    if operation.aliases:
        described["description"] = "Also at " + ", ".join(operation.aliases) + "."
    if operation.socket:
        query = {"name": "model", "in": "query", "required": True, "schema": {"type": "string"}}
        return described | {"parameters": [query]}
    if any(engine.cloud and operation in engine.operations for engine in ENGINES.values()):
        described["parameters"] = _BYOK
    kind = "multipart/form-data" if operation.form else "application/json"
    return described | {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


def _answers(operation: Operation) -> Document:
    if operation.socket:
        return {"101": {"description": "The session begins."}}
    content: Document = {"application/json": {}}
    if operation.grammar is not Grammar.OPAQUE:
        content["text/event-stream"] = {}
    return {"200": {"description": "The engine's answer.", "content": content}}


def _other(route: Route, words: Words) -> Document:
    tag = route.template.split("/")[1]
    described: Document = {
        "operationId": _NO_WORD.sub("_", f"{route.method.lower()} {route.template}").strip("_"),
        "summary": words.summary,
        "tags": [{"v1": "models", "ops": "operating"}.get(tag, "server")],
        "responses": {"200": {"description": "Done."}} | _refused(_BY_SCOPE[words.scope] | {*words.refusals}),
    }
    if not words.scope:
        described["security"] = []
    elif words.scope != "infer":
        described["description"] = f"The key needs the scope `{words.scope}`."
    where = [("path", name, "") for name in ("id",) if f"{{{name}}}" in route.template]
    where += [("query", name, meaning) for name, meaning in words.query]
    parameters = [
        {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}, "description": meaning}
        for place, name, meaning in where
    ]
    return described | ({"parameters": parameters} if parameters else {})


def _refused(statuses: set[int], dialect: Dialect = Dialect.OPENAI) -> Document:
    return {str(status): {"$ref": f"#/components/responses/{dialect}-{status}"} for status in sorted(statuses)}


def _refusals(dialect: Dialect) -> Document:
    """Every status of the error table, with its codes."""
    schema = {"$ref": _REFS.format(name="MessagesError" if dialect is Dialect.MESSAGES else "Error")}
    found: dict[int, list[str]] = {}
    for code, row in TABLE.items():
        found.setdefault(row.status, []).append(f"`{code}`: {row.meaning}")
    return {
        f"{dialect}-{status}": {"description": "\n".join(lines), "content": {"application/json": {"schema": schema}}}
        for status, lines in sorted(found.items())
    }
