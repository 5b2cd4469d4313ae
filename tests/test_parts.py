from pathlib import Path

import pytest
import trio

from appliance.config.schema import Backend, Config, Server
from appliance.domain.secret import Secret
from appliance.observe.log import log_exchange
from appliance.parts import Parts, build


def parts(tmp_path: Path, **server: object) -> Parts:
    config = Config(
        server=Server(state_dir=str(tmp_path), **server),  # type: ignore[arg-type]
        backends=(Backend(name="b", engine="openai", url="http://127.0.0.1:1"),),
    )
    return build(config, [Secret("k-123456")] if "auth" not in server else [], {}, log_exchange, None)


async def test_nothing_runs_and_nothing_is_bound_before_it_is_told_to(tmp_path: Path) -> None:
    built = parts(tmp_path)
    assert list(await trio.Path(tmp_path).iterdir()) == []
    assert list(built.fleet.snapshot().backends) == ["b"]
    assert built.encryption.certificates is None
    await built.upstreams.aclose()


async def test_a_box_that_anyone_may_use_is_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    built = parts(tmp_path, auth="open", listen="0.0.0.0:1")
    assert "no key is asked for" in caplog.text
    assert "TLS is off" in caplog.text
    await built.upstreams.aclose()


async def test_without_a_file_there_is_nothing_to_reload(tmp_path: Path) -> None:
    built = parts(tmp_path)
    assert built.reloader is None
    await built.upstreams.aclose()
