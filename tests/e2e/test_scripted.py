"""The product with scripted engines: what a real one cannot be made to do."""

import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.fakes.product import KEY, Product, free_port, product, runtime
from tests.fakes.program import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
NARROW_KEY = "sk-test-narrow-1"
NARROW = (
    f'[[keys]]\nname = "narrow"\nmodels = ["m"]\nhash = "sha256:{hashlib.sha256(NARROW_KEY.encode()).hexdigest()}"\n'
)
STREAM = CHAT | {"stream": True}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = "\n".join(
        [
            NARROW,
            runtime("m"),
            runtime("slow", "--token-delay", "0.2"),
            runtime("mute", "--first-byte-delay", "30"),
            runtime("cut", "--cut-after-tokens", "2"),
            runtime("short", "--truncate-after-tokens", "2"),
            runtime("nothing", "--only-done"),
            runtime("moved", "--redirect"),
            runtime("odd", "--garbage"),
            runtime("ill", "--status", "500"),
            runtime("late", "--load-seconds", "1.5", extra='start = "on-demand"'),
            runtime("never", "--load-seconds", "600", extra='start = "on-demand"'),
            runtime("blind", "--no-embeddings", "501", kinds='["chat", "embedding"]', extra='start = "on-demand"'),
        ]
    )
    with product(
        tmp_path_factory.mktemp("box"),
        tables,
        "load_wait = '12s'\nmax_body = '64KiB'\nfirst_byte_timeout = '6s'\nbody_timeout = '3s'\n",
    ) as running:
        running.ready("m", "slow", "mute", "cut", "short", "nothing", "moved", "odd", "ill")
        yield running


def stream_of(box: Product, model: str) -> tuple[int, str]:
    reply = box.post("/v1/chat/completions", STREAM | {"model": model})
    return reply.status_code, reply.text


def test_both_prefixes_answer_alike(box: Product) -> None:
    assert box.post("/v1/chat/completions", CHAT).status_code == 200
    assert box.post("/api/client/v1/chat/completions", CHAT).status_code == 200


def test_a_stream_is_sse_and_ends_with_done(box: Product) -> None:
    reply = box.post("/v1/chat/completions", STREAM)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith("data: [DONE]\n\n")
    assert '"usage":{' not in reply.text


def test_events_arrive_one_by_one_not_all_at_the_end(box: Product) -> None:
    seen: list[float] = []
    url = f"{box.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=STREAM | {"model": "slow"}, headers=box.headers, timeout=60) as reply:
        for line in reply.iter_lines():
            if line.startswith("data:"):
                seen.append(time.monotonic())
                if len(seen) == 5:
                    break
    assert seen[-1] - seen[0] > 0.4


@pytest.mark.parametrize(("model", "code"), [("cut", "backend_died"), ("short", "stream_truncated")])
def test_an_engine_that_ends_early_never_looks_like_success(box: Product, model: str, code: str) -> None:
    status, text = stream_of(box, model)
    assert status == 200
    last = json.loads(text.rstrip().rpartition("data: ")[2])
    assert last["error"]["code"] == code
    assert "[DONE]" not in text
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=0) as sdk, pytest.raises(openai.APIError):
        list(sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], stream=True))


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("nothing", 502, "empty_response"),
        ("moved", 502, "redirect_refused"),
        ("odd", 502, "upstream_protocol"),
        ("never", 503, "model_loading"),
        ("mute", 504, "backend_timeout"),
    ],
)
def test_what_fails_before_the_first_byte_has_a_real_status(box: Product, model: str, status: int, code: str) -> None:
    reply = box.post("/v1/chat/completions", STREAM | {"model": model})
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.headers["x-request-id"] == reply.json()["request_id"]
    assert ("retry-after" in reply.headers) == (status == 503)


def test_an_engines_error_passes_through_with_its_status_and_body(box: Product) -> None:
    reply = box.post("/v1/chat/completions", CHAT | {"model": "ill"})
    assert reply.status_code == 500
    assert reply.headers["x-error-source"] == "backend"


def test_a_cold_model_is_started_once_for_many_and_all_are_answered(box: Product) -> None:
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: box.post("/v1/chat/completions", CHAT | {"model": "late"}), range(20)))
    assert {reply.status_code for reply in replies} == {200}
    assert len([pid for pid in box.engines() if b"APPLIANCE_REPLICA=late" in environ(pid)]) == 1


def environ(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_an_engine_without_the_route_is_501_and_not_retried(box: Product) -> None:
    reply = box.post("/v1/embeddings", {"model": "blind", "input": "x"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (501, "unsupported")
    assert reply.headers["x-should-retry"] == "false"


def cancelled(box: Product, name: str) -> int:
    with httpx.Client(transport=httpx.HTTPTransport(uds=box.socket_of(name))) as engine:
        count: int = engine.get("http://x/_state").json()["cancelled"]
        return count


@pytest.mark.parametrize("name", ["mute", "slow"])
def test_a_client_that_leaves_frees_the_engine_in_every_phase(box: Product, name: str) -> None:
    before = cancelled(box, name)
    body = json.dumps(STREAM | {"model": name}).encode()
    with socket.create_connection(("127.0.0.1", box.port)) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
            + KEY.encode()
            + b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        if name == "slow":
            assert client.recv(100)
        else:
            time.sleep(0.3)
    left = time.monotonic()
    while cancelled(box, name) == before:
        assert time.monotonic() - left < 5
        time.sleep(0.02)
    box.until(lambda: f'appliance_requests_in_flight{{model="{name}"}} 0.0' in box.metrics(), 5)
    assert f'appliance_requests_total{{code="499",model="{name}",operation="chat"}}' in box.metrics()


def raw(box: Product, request: bytes) -> tuple[int, dict[str, object]]:
    with socket.create_connection(("127.0.0.1", box.port), timeout=10) as client:
        client.sendall(request)
        client.settimeout(10)
        data = b""
        while b"\r\n\r\n" not in data or not data.rstrip().endswith(b"}"):
            piece = client.recv(65536)
            if not piece:
                break
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def post_bytes(path: str, body: bytes, *, key: str | None = KEY, method: str = "POST") -> bytes:
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: {len(body)}\r\n\r\n".encode() + body


GOOD = json.dumps(CHAT).encode()
BAD_INPUT = [
    ("no model", post_bytes("/v1/chat/completions", b'{"messages":[{"role":"user","content":"x"}]}'), 400, "missing_required_parameter"),
    ("no messages", post_bytes("/v1/chat/completions", b'{"model":"m"}'), 400, "missing_required_parameter"),
    ("unknown model", post_bytes("/v1/chat/completions", GOOD.replace(b'"m"', b'"nope"')), 404, "model_not_found"),
    ("not json", post_bytes("/v1/chat/completions", b"{"), 422, "invalid_payload"),
    ("not utf-8", post_bytes("/v1/chat/completions", b'{"model":"\xff"}'), 422, "invalid_payload"),
    ("not an object", post_bytes("/v1/chat/completions", b"[]"), 422, "invalid_payload"),
    ("wrong type", post_bytes("/v1/chat/completions", b'{"model":"m","messages":"hi"}'), 422, "invalid_payload"),
    ("wrong role", post_bytes("/v1/chat/completions", GOOD.replace(b"user", b"king")), 422, "invalid_payload"),
    ("deep nesting", post_bytes("/v1/chat/completions", b'{"model":"m","messages":' + b"[" * 9000 + b"]" * 9000 + b"}"), 422, "invalid_payload"),
    ("wrong kind", post_bytes("/v1/embeddings", b'{"model":"m","input":"x"}'), 422, "model_category_mismatch"),
    ("wrong method", post_bytes("/v1/chat/completions", b"", method="GET"), 405, "method_not_allowed"),
    ("unknown path", post_bytes("/v1/nothing", b"{}"), 404, "unknown_url"),
    ("no key", post_bytes("/v1/chat/completions", GOOD, key=None), 401, "invalid_api_key"),
    ("wrong key", post_bytes("/v1/chat/completions", GOOD, key="sk-wrong"), 401, "invalid_api_key"),
    ("oversize", post_bytes("/v1/chat/completions", b"x" * 70_000), 413, "request_too_large"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"), [row[1:] for row in BAD_INPUT], ids=[row[0] for row in BAD_INPUT]
)
def test_bad_input_by_raw_bytes(box: Product, request_bytes: bytes, status: int, code: str) -> None:
    got, body = raw(box, request_bytes)
    assert (got, body["error"]["code"]) == (status, code)  # type: ignore[index]
    assert body["error"]["message"]  # type: ignore[index]


def test_a_body_that_stalls_is_a_408(box: Product) -> None:
    whole = post_bytes("/v1/chat/completions", GOOD)
    assert raw(box, whole[:-5])[0] == 408


SDK_ROWS: list[tuple[str, dict[str, Any], type[openai.APIStatusError], str]] = [
    ("/chat/completions", {"messages": CHAT["messages"]}, openai.BadRequestError, "missing_required_parameter"),
    ("/chat/completions", {"model": "m", "messages": []}, openai.BadRequestError, "missing_required_parameter"),
    ("/completions", {"model": "m"}, openai.BadRequestError, "missing_required_parameter"),
    ("/embeddings", {"model": "m"}, openai.BadRequestError, "missing_required_parameter"),
    ("/chat/completions", CHAT | {"model": "nope"}, openai.NotFoundError, "model_not_found"),
    ("/chat/completions", CHAT | {"model": 3}, openai.UnprocessableEntityError, "invalid_payload"),
    ("/chat/completions", CHAT | {"temperature": 9}, openai.UnprocessableEntityError, "invalid_payload"),
    ("/chat/completions", CHAT | {"stream": "yes"}, openai.UnprocessableEntityError, "invalid_payload"),
    ("/embeddings", {"model": "m", "input": "x"}, openai.UnprocessableEntityError, "model_category_mismatch"),
    ("/embeddings", {"model": "blind", "input": "x"}, openai.InternalServerError, "unsupported"),
    ("/nothing", {}, openai.NotFoundError, "unknown_url"),
    ("/models", {}, openai.APIStatusError, "method_not_allowed"),
    ("/completions", {"model": "m", "prompt": "x" * 70_000}, openai.APIStatusError, "request_too_large"),
    ("/chat/completions", CHAT | {"model": "mute"}, openai.InternalServerError, "backend_timeout"),
    ("/chat/completions", CHAT | {"model": "never"}, openai.InternalServerError, "model_loading"),
    ("/chat/completions", CHAT | {"model": "moved"}, openai.InternalServerError, "redirect_refused"),
]


@pytest.mark.parametrize(("path", "body", "error", "code"), SDK_ROWS, ids=[f"{row[3]} {row[0]}" for row in SDK_ROWS])
def test_bad_input_through_the_sdk(
    box: Product, path: str, body: dict[str, Any], error: type[openai.APIStatusError], code: str
) -> None:
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=0) as sdk, pytest.raises(error) as caught:
        sdk.post(path, cast_to=object, body=body)
    assert caught.value.code == code
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("key", "model", "error", "code"),
    [
        ("sk-wrong", "m", openai.AuthenticationError, "invalid_api_key"),
        (NARROW_KEY, "slow", openai.PermissionDeniedError, "model_not_allowed"),
    ],
)
def test_a_key_that_may_not_is_told_so_by_the_sdk(
    box: Product, key: str, model: str, error: type[openai.APIStatusError], code: str
) -> None:
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key=key, max_retries=0) as sdk, pytest.raises(error) as caught:
        sdk.post("/chat/completions", cast_to=object, body=CHAT | {"model": model})
    assert caught.value.code == code


def test_the_clients_own_request_id_comes_back(box: Product) -> None:
    reply = httpx.post(
        f"{box.url}/v1/chat/completions", json=CHAT, headers=box.headers | {"x-request-id": "mine-1"}, timeout=30
    )
    assert (reply.headers["x-request-id"], reply.json()["request_id"]) == ("mine-1", "mine-1")


def test_either_header_carries_the_key(box: Product) -> None:
    assert httpx.get(f"{box.url}/v1/models", headers={"x-api-key": KEY}).status_code == 200


def test_readiness_tells_why(box: Product) -> None:
    report = httpx.get(f"{box.url}/readyz").json()["models"]
    assert report["m"]["ready"]
    assert not report["never"]["ready"]


def test_metrics_count_by_model_and_code_and_are_local_only(box: Product) -> None:
    box.post("/v1/chat/completions", STREAM)
    text = box.metrics()
    assert 'appliance_requests_total{code="200",model="m",operation="chat"}' in text
    assert 'model="nope"' not in text
    forwarded = httpx.get(f"{box.url}/metrics", headers={"x-forwarded-for": "10.0.0.1"})
    assert forwarded.status_code == 401


def test_a_crash_loop_is_told_with_its_reason(tmp_path: Path) -> None:
    bad = '[[runtimes]]\nname = "bad"\nengine = "command"\ncommand = ["/bin/sh", "-c", "echo no such weights; exit 3", "{port}"]\n'
    with product(tmp_path, bad, "load_wait = '300ms'") as running:
        running.until(lambda: running.metrics().count('state="backoff"} 1.0') == 1, 20)
        reply = running.post("/v1/chat/completions", CHAT | {"model": "bad"})
        assert reply.status_code == 503
        assert "exit code 3" in reply.text
        assert int(reply.headers["retry-after"]) >= 1


def test_stop_leaves_no_process_also_when_the_engine_forks_and_ignores_term(tmp_path: Path) -> None:
    tables = runtime("stubborn", "--ignore-term", "--grandchild", extra='stop_grace = "1s"')
    with product(tmp_path, tables) as running:
        running.ready("stubborn")
        assert len(running.engines()) >= 2
        started = time.monotonic()
        assert running.stop(20) == 0
        assert time.monotonic() - started < 15
        assert running.engines() == []


def test_stop_leaves_no_process_also_when_the_top_process_is_killed_meanwhile(tmp_path: Path) -> None:
    tables = runtime("stubborn", "--ignore-term", "--grandchild", extra='stop_grace = "3s"')
    with product(tmp_path, tables) as running:
        running.ready("stubborn")
        top = min(running.engines())
        running.terminate()
        time.sleep(0.5)
        os.kill(top, signal.SIGKILL)
        assert running.process.wait(20) == 0
        assert running.engines() == []


@contextmanager
def begun(running: Product) -> Iterator[Iterator[str]]:
    """The lines of a stream of `m` after its first one."""
    url = f"{running.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=STREAM, headers=running.headers, timeout=60) as reply:
        lines = reply.iter_lines()
        next(lines)
        yield lines


def test_terminate_lets_a_stream_finish(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--token-delay", "0.1")) as running:
        running.ready("m")
        with begun(running) as lines:
            running.terminate()
            rest = list(lines)
        assert "data: [DONE]" in rest


def test_terminate_lets_a_whole_answer_finish(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--first-byte-delay", "4")) as running, ThreadPoolExecutor(1) as pool:
        running.ready("m")
        asked = pool.submit(running.post, "/v1/chat/completions", CHAT)
        time.sleep(1.5)
        running.terminate()
        assert asked.result().status_code == 200


def test_a_stream_that_outlasts_the_drain_ends_with_an_error_event(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--token-delay", "0.5"), "drain = '500ms'") as running:
        running.ready("m")
        with begun(running) as lines:
            running.terminate()
            rest = "\n".join(lines)
        assert '"draining"' in rest
        assert "[DONE]" not in rest


def test_a_second_signal_ends_streams_with_an_error_event_at_once(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--token-delay", "0.5", "--tokens", "200"), "drain = '90s'") as running:
        running.ready("m")
        with begun(running) as lines:
            running.terminate()
            running.said("stopping: streams may finish")
            running.process.send_signal(signal.SIGTERM)
            rest = "\n".join(lines)
        assert '"draining"' in rest
        assert running.process.wait(30) == 0
        assert "client_gone" not in running.log.read_text()


def test_a_second_appliance_on_the_same_state_is_refused_in_one_line(box: Product) -> None:
    import subprocess

    text = box.config.read_text().replace(str(box.port), str(free_port()))
    second = box.state / "second.toml"
    second.write_text(text)
    done = subprocess.run(
        [*PROGRAM, "serve", "--config", str(second)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "another appliance" in done.stderr
    assert "Traceback" not in done.stderr
