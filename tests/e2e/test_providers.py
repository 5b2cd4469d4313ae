"""Providers beyond the seeds: the owner's key, kept keys, keys that stay, failures, leaving, and who gets to see a key.

OpenAI is reached over http on this machine, Anthropic and Gemini over https with certificates of the tests' own.
"""

import hashlib
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.fakes.cloud import Cloud, cloud
from tests.fakes.pem_files import Authority
from tests.fakes.product import KEY, Product, free_port, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
OWN, OWNERS, KEPT = "sk-own-canary-51ab93", "sk-owner-canary-77c2d1", "sk-kept-canary-e80a44"
HELLO: Any = [{"role": "user", "content": "Hello!"}]
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def key_table(name: str, settings: str) -> str:
    return f'[[keys]]\nname = "{name}"\nhash = "sha256:{hashlib.sha256(name.encode()).hexdigest()}"\n{settings}\n'


def model(name: str, *targets: str) -> str:
    return f'[[models]]\nname = "{name}"\nkind = "chat"\ntargets = {json.dumps(targets)}\n'


@dataclass
class World:
    box: Product
    plain: Cloud
    secure: Cloud

    def ask(
        self, path: str, name: str, *, key: str = KEY, byok: str = "", own: str = OWN, **members: Any
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        if byok:
            headers |= {"x-byok-provider": byok} | ({"x-byok-api-key": own} if own else {})
        body = {"model": name, "messages": HELLO, "max_tokens": 64} | members
        return httpx.post(self.box.url + path, json=body, headers=headers, timeout=60)

    def code(self, *args: Any, **kwargs: Any) -> tuple[int, str]:
        reply = self.ask(*args, **kwargs)
        return reply.status_code, reply.json()["error"]["code"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("providers")
    authority = Authority(folder)
    tls = authority.write("cloud", "localhost")
    for name, text in (("owner", OWNERS), ("kept", KEPT)):
        (folder / name).write_text(text + "\n")
    with (
        cloud(tmp_path_factory.mktemp("plain")) as plain,
        cloud(tmp_path_factory.mktemp("secure"), (tls.cert, tls.key)) as secure,
    ):
        tables = "\n".join(
            [
                f'[[providers]]\nname = "openai"\nurl = "{plain.url}"\nkey_file = "{folder / "owner"}"',
                f'[[providers]]\nname = "anthropic"\nurl = "{secure.url}"\nkey_env = "OWNERS_KEY"',
                f'[[providers]]\nname = "gemini"\nurl = "{secure.url}"',
                key_table("alice", f'provider_keys = {{ openai = "{folder / "kept"}" }}'),
                key_table("stays", "local_only = true"),
                key_table("narrow", 'models = ["gpt", "openai/gpt-*"]'),
                key_table("slow", "limits = { requests_per_minute = 1 }"),
                model("gpt", "openai/gpt-5"),
                model("claude", "anthropic/claude-x"),
                model("refused", "openai/echo"),
                model("mixed", "openai/gpt-5", "spare"),
                model("falls", "openai/error-503", "spare"),
                f'[[backends]]\nname = "gone"\nengine = "openai"\nurl = "http://127.0.0.1:{free_port()}"',
                model("rescued", "gone/x", "openai/gpt-5"),
                runtime("spare"),
                model("local", "spare"),
                (
                    '[[guardrails]]\nname = "words"\nkind = "keywords"\nwords = ["friend"]\non = ["output"]\n'
                    'action = "redact"\nmodels = ["claude-watched"]'
                ),
                model("claude-watched", "anthropic/claude-x"),
            ]
        )
        environment = {"SSL_CERT_FILE": str(authority.as_file()), "OWNERS_KEY": OWNERS}
        with product(folder / "box", tables, environment=environment) as box:
            box.ready("local")
            yield World(box, plain, secure)


@pytest.mark.parametrize(("path", "name"), [(CHAT, "gpt"), (CHAT, "claude"), (MESSAGES, "gpt"), (MESSAGES, "claude")])
def test_a_model_may_be_a_providers_with_the_owners_key(world: World, path: str, name: str) -> None:
    reply = world.ask(path, name)
    assert reply.status_code == 200, reply.text
    assert "Hello there, friend." in reply.text
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    sent = (world.plain if name == "gpt" else world.secure).last()
    assert sent["body"]["model"] in {"gpt-5", "claude-x"}
    assert OWNERS in json.dumps(sent["headers"])
    assert reply.headers["x-gateway-target"] in {"openai/gpt-5", "anthropic/claude-x"}
    assert "set-cookie" not in reply.headers


def test_a_model_of_a_provider_is_listed_and_counts_as_ready(world: World) -> None:
    listed = httpx.get(f"{world.box.url}/v1/models", headers=world.box.headers).json()["data"]
    assert {"gpt", "claude", "mixed"} <= {entry["id"] for entry in listed}
    assert world.box.get("/readyz").json()["models"]["gpt"]["ready"]


def test_the_next_target_takes_over_both_ways(world: World) -> None:
    falls = world.ask(CHAT, "falls")
    assert (falls.status_code, falls.headers["x-gateway-target"]) == (200, "spare")
    rescued = world.ask(CHAT, "rescued")
    assert (rescued.status_code, rescued.headers["x-gateway-target"]) == (200, "openai/gpt-5")


def test_what_a_local_only_key_asks_stays_here(world: World) -> None:
    before = len(world.plain.requests()) + len(world.secure.requests())
    assert world.code(CHAT, "gpt", key="stays") == (403, "local_only")
    assert world.code(MESSAGES, "claude", key="stays") == (403, "local_only")
    assert world.code(CHAT, "gpt-5", key="stays", byok="openai") == (403, "local_only")
    mixed = world.ask(CHAT, "mixed", key="stays")
    assert (mixed.status_code, mixed.headers["x-gateway-target"]) == (200, "spare")
    assert len(world.plain.requests()) + len(world.secure.requests()) == before


def test_a_key_that_is_kept_serves_whom_it_is_kept_for(world: World) -> None:
    assert world.ask(CHAT, "gpt-5", key="alice", byok="openai", own="").status_code == 200
    assert KEPT in json.dumps(world.plain.last()["headers"])
    assert world.ask(CHAT, "gpt-5", key="alice", byok="openai").status_code == 200
    assert OWN in json.dumps(world.plain.last()["headers"])
    assert world.code(CHAT, "gpt-5", byok="openai", own="") == (400, "missing_byok_key")
    assert world.code(CHAT, "m", key="alice", byok="gemini", own="") == (400, "missing_byok_key")


def test_our_own_rules_hold_for_a_callers_own_key_too(world: World) -> None:
    assert world.code(CHAT, "m", key="nobody", byok="openai") == (401, "invalid_api_key")
    assert world.ask(CHAT, "gpt-5", key="narrow", byok="openai").status_code == 200
    assert world.code(CHAT, "o9", key="narrow", byok="openai") == (403, "model_not_allowed")
    assert world.ask(CHAT, "m", key="slow", byok="openai").status_code == 200
    assert world.code(CHAT, "m", key="slow", byok="openai") == (429, "rate_limit_exceeded")


def test_a_wrong_provider_and_a_missing_key_or_model_are_named_in_each_dialect(world: World) -> None:
    assert world.code(CHAT, "m", byok="mistral") == (400, "invalid_byok_provider")
    assert world.code(CHAT, "m", byok="openai", own="") == (400, "missing_byok_key")
    assert world.code(CHAT, "", byok="openai") == (400, "missing_required_parameter")
    assert world.code(MESSAGES, "", byok="anthropic") == (400, "missing_required_parameter")
    wrong = world.ask(MESSAGES, "m", byok="https://evil.example").json()
    assert (wrong["type"], wrong["error"]["type"]) == ("error", "invalid_request_error")
    assert world.code("/v1/completions", "m", byok="anthropic", prompt="x") == (501, "unsupported")
    assert world.code("/v1/messages/count_tokens", "m", byok="openai") == (501, "unsupported")


def test_counting_goes_to_anthropic_itself(world: World) -> None:
    counted = world.ask("/v1/messages/count_tokens", "m", byok="anthropic").json()
    assert counted["input_tokens"] == 14


@pytest.mark.parametrize("byok", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_providers_error_keeps_its_status_in_the_clients_words(world: World, byok: str, path: str) -> None:
    for status in (400, 429, 529):
        reply = world.ask(path, f"error-{status}", byok=byok)
        assert reply.status_code == status
        assert reply.headers["x-error-source"] == "provider"
        error = reply.json()["error"]
        assert error["message"] == "Said the provider."
        if path == MESSAGES and status != 529:
            assert error["type"] == {400: "invalid_request_error", 429: "rate_limit_error"}[status]
        assert reply.headers["x-request-id"] == reply.json().get("request_id", reply.headers["x-request-id"])


def test_redirects_are_refused_and_the_key_does_not_follow_them(world: World) -> None:
    for byok, where in (("openai", world.plain), ("gemini", world.secure)):
        before = len(where.requests())
        assert world.code(CHAT, "redirect", byok=byok) == (502, "redirect_refused")
        assert len(where.requests()) == before + 1


def test_a_refused_key_of_the_owners_is_told_as_such_and_not_shown(world: World) -> None:
    reply = world.ask(CHAT, "refused")
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "provider_key_refused")
    assert OWNERS not in reply.text


@pytest.mark.parametrize("byok", ["openai", "anthropic", "gemini"])
def test_a_key_that_a_provider_repeats_is_taken_out(world: World, byok: str) -> None:
    reply = world.ask(CHAT, "echo", byok=byok)
    assert reply.status_code == 401
    assert "Incorrect API key provided" in reply.text
    assert OWN not in reply.text


@pytest.mark.parametrize("byok", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("name", ["cut-short", "overloaded"])
def test_a_stream_that_breaks_is_never_a_clean_end(world: World, byok: str, name: str) -> None:
    chat = world.ask(CHAT, name, byok=byok, stream=True).text
    assert "[DONE]" not in chat
    assert json.loads(chat.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["message"]
    talk = world.ask(MESSAGES, name, byok=byok, stream=True).text
    assert "message_stop" not in talk
    assert talk.strip().split("\n\n")[-1].startswith("event: error\n")


@pytest.mark.parametrize("byok", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_client_that_leaves_frees_the_provider_at_once(world: World, byok: str, path: str) -> None:
    where = world.plain if byok == "openai" else world.secure
    before = len([1 for one in where.requests() if "gone" in one["body"]])
    headers = world.box.headers | {"x-byok-provider": byok, "x-byok-api-key": OWN}
    body = {"model": "endless", "messages": HELLO, "max_tokens": 9, "stream": True}
    with httpx.stream("POST", world.box.url + path, json=body, headers=headers, timeout=60) as reply:
        next(reply.iter_bytes())
    left = time.monotonic()
    while len([1 for one in where.requests() if "gone" in one["body"]]) == before:
        assert time.monotonic() - left < 5, "the provider still works for a client that left"
        time.sleep(0.02)


def chats(world: World, byok: str) -> openai.OpenAI:
    headers = {"x-byok-provider": byok, "x-byok-api-key": OWN}
    return openai.OpenAI(base_url=f"{world.box.url}/v1", api_key=KEY, max_retries=0, default_headers=headers)


def talks(world: World, byok: str) -> anthropic.Anthropic:
    headers = {"x-byok-provider": byok, "x-byok-api-key": OWN}
    return anthropic.Anthropic(base_url=world.box.url, api_key=KEY, max_retries=0, default_headers=headers)


TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("byok", ["openai", "anthropic", "gemini"])
def test_tools_are_called_through_chat_whole_and_streamed(world: World, byok: str) -> None:
    with chats(world, byok) as sdk:
        whole = sdk.chat.completions.create(model="tools", messages=HELLO, tools=[TOOL]).choices[0]
        with sdk.chat.completions.stream(model="tools", messages=HELLO, tools=[TOOL]) as stream:
            streamed = stream.get_final_completion().choices[0]
        again = [
            *HELLO,
            whole.message,
            *({"role": "tool", "tool_call_id": c.id, "content": "5"} for c in whole.message.tool_calls or ()),
        ]
        assert sdk.chat.completions.create(model="m", messages=again, tools=[TOOL]).choices[0].message.content
    for choice in (whole, streamed):
        assert choice.finish_reason == "tool_calls"
        calls: Any = choice.message.tool_calls
        assert [call.function.name for call in calls] == ["weather", "clock"]
        assert json.loads(calls[0].function.arguments) == {"city": "Graz"}
        assert all(call.id for call in calls)
    if byok == "gemini":  # its signature came back to it
        sent = world.secure.last()["body"]["messages"][1]["tool_calls"][0]
        assert sent["extra_content"]["google"]["thought_signature"] == "CrICAdHtim827fQ"


@pytest.mark.parametrize("byok", ["openai", "anthropic", "gemini"])
def test_tools_are_called_through_messages_whole_and_streamed(world: World, byok: str) -> None:
    tools: Any = [{"name": "weather", "input_schema": {"type": "object"}}]
    with talks(world, byok) as sdk:
        whole = sdk.messages.create(model="tools", max_tokens=64, messages=HELLO, tools=tools)
        with sdk.messages.stream(model="tools", max_tokens=64, messages=HELLO, tools=tools) as stream:
            streamed = stream.get_final_message()
        used: Any = [block for block in whole.content if block.type == "tool_use"]
        results: Any = [{"type": "tool_result", "tool_use_id": block.id, "content": "5"} for block in used]
        content: Any = [block.model_dump(exclude_none=True) for block in whole.content]
        again: Any = [*HELLO, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
        assert sdk.messages.create(model="m", max_tokens=64, messages=again, tools=tools).content
    for message in (whole, streamed):
        assert message.stop_reason == "tool_use"
        found: Any = [block for block in message.content if block.type == "tool_use"]
        assert [(block.name, block.input) for block in found] == [("weather", {"city": "Graz"}), ("clock", {})]
    if byok == "anthropic":  # thoughts keep their signature, and it went back
        assert whole.content[0].type == streamed.content[0].type == "thinking"
        assert world.secure.last()["body"]["messages"][1]["content"][0]["signature"] == "EqQBCgIYAhIM"


def test_a_watched_answer_of_anthropics_is_looked_at(world: World) -> None:
    for stream in (False, True):
        reply = world.ask(MESSAGES, "claude-watched", stream=stream)
        assert reply.status_code == 200, reply.text
        assert "friend" not in reply.text
        said = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")] or [reply.json()]
        texts = (
            [one["delta"].get("text", "") for one in said if "delta" in one]
            if stream
            else [said[0]["content"][0]["text"]]
        )
        assert "".join(texts).startswith("Hello there, [")


def test_reload_takes_providers_away_and_brings_them_back(world: World) -> None:
    box = world.box
    text = box.config.read_text()
    section = f'[[providers]]\nname = "gemini"\nurl = "{world.secure.url}"'
    box.config.write_text(text.replace(section, ""))
    box.process.send_signal(signal.SIGHUP)
    box.until(lambda: world.ask(CHAT, "m", byok="gemini").status_code == 400, 20)
    assert world.code(CHAT, "m", byok="gemini") == (400, "invalid_byok_provider")
    box.config.write_text(text)
    box.process.send_signal(signal.SIGHUP)
    box.until(lambda: world.ask(CHAT, "m", byok="gemini").status_code == 200, 20)


def test_what_it_cost_is_in_the_books_without_the_clients_words(world: World) -> None:
    world.ask(CHAT, "a-name-of-the-clients", byok="anthropic")
    world.box.until(lambda: 'model="byok/anthropic"' in world.box.metrics(), 5)
    assert "a-name-of-the-clients" not in world.box.metrics()
    lines = [json.loads(line) for line in world.box.written().splitlines() if '"byok/anthropic"' in line]
    assert lines[-1]["target"] == "anthropic"
    assert (lines[-1]["tokens_input"], lines[-1]["tokens_output"]) == (15, 6)


def test_no_key_of_anybodys_is_in_any_sink(world: World) -> None:
    world.box.until(lambda: (world.box.state / "s" / "usage.db").stat().st_size > 0, 10)
    sinks = [world.box.log.read_bytes(), world.box.metrics().encode(), world.box.get("/readyz").content]
    sinks += [path.read_bytes() for path in (world.box.state / "s").rglob("*") if path.is_file()]
    pids = [world.box.process.pid, *world.box.engines()]
    sinks += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    sinks += [Path(f"/proc/{pid}/environ").read_bytes() for pid in world.box.engines()]
    for sink in sinks:
        for key in (OWN, OWNERS, KEPT):
            assert key.encode() not in sink
    for where in (world.plain, world.secure):
        seen = json.dumps(where.requests())
        assert KEY not in seen
        assert "canary-cookie" not in seen
    assert KEPT not in json.dumps(world.secure.requests())
