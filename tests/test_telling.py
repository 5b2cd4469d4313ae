"""Who tells the journal what, in a running product: from the cause to the event, and over a restart."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import wrap_client_stream

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), runtime("m")) as running:
        running.ready("m")
        yield running


def events(box: Product, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = box.ops("GET", f"/events?limit=1000{query}").json()["events"]
    return found


def kinds(box: Product, query: str = "") -> list[str]:
    return [event["kind"] for event in events(box, query)]


def test_the_story_of_a_replica_with_its_orders(box: Product) -> None:
    assert {"server.started", "replica.state"} <= set(kinds(box))
    last = events(box)[-1]["id"]
    assert box.ops("POST", "/restart/m").json()["ok"]
    told = events(box, f"&since={last}&subject=m")
    assert [event["facts"].get("state") for event in told if event["kind"] == "replica.state"][-1] == "ready"
    (order,) = [event for event in told if event["kind"] == "admin.action"]
    assert (order["facts"]["action"], order["facts"]["by"], order["facts"]["ok"]) == ("restart", "ops.sock", True)
    assert [event["id"] for event in told] == sorted(event["id"] for event in told)


def test_a_crash_is_told_with_its_reason(box: Product) -> None:
    last = events(box)[-1]["id"]
    os.kill(box.row("m")["pid"], signal.SIGKILL)
    box.until(lambda: "replica.crashed" in kinds(box, f"&since={last}"), 30)
    (crash,) = events(box, f"&since={last}&kind=replica.crashed")
    assert crash["facts"]["restarts"] == 1
    assert "killed" in crash["words"].lower() or "signal" in crash["words"].lower()
    box.ready("m")


def test_keys_and_configurations_are_told(box: Product) -> None:
    last = events(box)[-1]["id"]
    made = box.ops("POST", "/keys", {"name": "ci"}).json()["key"]
    assert box.ops("POST", "/keys/revoke/ci").status_code == 200
    whole = box.config.read_text()
    box.config.write_text(whole + "\n[nonsense]\n")
    assert box.ops("POST", "/reload").status_code == 409
    box.config.write_text(whole)
    assert box.ops("POST", "/reload").status_code == 200
    told = events(box, f"&since={last}")
    assert [event["kind"] for event in told] == [
        "key.created",
        "admin.action",
        "key.revoked",
        "admin.action",
        "config.refused",
        "admin.action",
        "config.loaded",
        "admin.action",
    ]
    assert "nonsense" in told[4]["words"]
    assert made not in json.dumps(told)


async def test_a_follower_comes_back_after_the_restart_and_has_every_event_once(tmp_path: Path) -> None:
    async def some(path: str, enough: str) -> list[dict[str, Any]]:
        """Follow until an event of a kind."""
        found: list[dict[str, Any]] = []
        with trio.fail_after(60):
            async with (
                await trio.open_unix_socket(own.state / "s" / "ops.sock") as stream,
                trio.open_nursery() as tasks,
            ):
                socket = await wrap_client_stream(tasks, stream, "appliance", path)
                while not found or found[-1]["kind"] != enough:
                    found.append(json.loads(await socket.get_message()))
                tasks.cancel_scope.cancel()  # no goodbye: the library takes a ping within it for a mistake
        return found

    with product(tmp_path, runtime("m")) as own:
        own.ready("m")
        before = await some("/ops/v1/events?follow=1&since=0", "server.started")
        own.stop()
        own.start()
        own.ready("m")  # by then its private socket listens as well
        after = await some(f"/ops/v1/events?follow=1&since={before[-1]['id']}", "server.started")
        everything = events(own)
    ids = [event["id"] for event in before + after]
    assert ids == [event["id"] for event in everything][: len(ids)]
    assert "server.stopping" in [event["kind"] for event in after]
    assert "stopped" in [event["facts"].get("state") for event in after], "the ends of engines are in it as well"
