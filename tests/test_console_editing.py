from pathlib import Path

from appliance.config.file import ConfigFile
from appliance.config.schema import Config, Model, Runtime, Server
from appliance.console_editing import editing_pages
from appliance.domain.secret import Secret
from appliance.observe.log import log_exchange
from appliance.parts import Parts, build
from appliance.routing.catalogue import Catalogue

CATALOGUE = Catalogue((), (), ())


async def parts_of(tmp_path: Path, file: ConfigFile | None) -> Parts:
    runtime = Runtime(name="r", engine="command", command=("x", "{port}"))
    models = (Model(name="a", targets=("r",)), Model(name="z", targets=("r",), default=True))
    config = Config(server=Server(state_dir=str(tmp_path)), runtimes=(runtime,), models=models)
    parts = build(config, [Secret("k-123456")], {}, log_exchange, file)
    await parts.upstreams.aclose()
    return parts


async def test_the_pages_that_need_a_file_are_there_where_there_is_one(tmp_path: Path) -> None:
    parts = await parts_of(tmp_path, ConfigFile(tmp_path / "a.toml", {}))
    names = [page.name for page in editing_pages(parts.operating, parts.fleet, CATALOGUE, "http://box")]
    assert names == ["models", "keys", "connect", "config"]
    parts = await parts_of(tmp_path, None)
    names = [page.name for page in editing_pages(parts.operating, parts.fleet, CATALOGUE, "http://box")]
    assert names == ["keys", "connect"]
