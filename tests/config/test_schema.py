from typing import get_args

import msgspec
import pytest

from appliance.config.schema import Config, Section
from appliance.config.units import Seconds, Size
from appliance.domain.engines import BACKEND_ENGINES, ENGINES
from tests.fakes.settings import sections

FIELDS = [(section, field) for section in sections(Config) for field in msgspec.structs.fields(section)]


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=lambda value: getattr(value, "name", None) or value.__name__)
def test_every_setting_says_what_it_means(section: type[Section], field: msgspec.structs.FieldInfo) -> None:
    notes = [note for note in getattr(field.type, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    assert len(notes) == 1
    assert (notes[0].extra or {})["doc"]
    assert isinstance((notes[0].extra or {})["later"], bool)


def test_an_empty_file_is_a_complete_configuration() -> None:
    config = Config()
    assert config.server.listen == "127.0.0.1:8000"
    assert config.server.auth == "keys"
    assert isinstance(config.server.drain, Seconds)
    assert isinstance(config.server.max_body, Size)
    assert config.runtimes == ()


def test_a_section_cannot_be_changed_after_it_was_built() -> None:
    name = "listen"
    with pytest.raises(AttributeError):
        setattr(Config().server, name, "0.0.0.0:1")


def test_the_engines_of_a_backend_are_those_of_the_engine_table() -> None:
    engine = next(field for section, field in FIELDS if section.__name__ == "Backend" and field.name == "engine")
    assert set(get_args(get_args(engine.type)[0])) == set(BACKEND_ENGINES)
    assert set(BACKEND_ENGINES) < set(ENGINES)
