"""Every table that the configuration can have."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from appliance.config.schema import Config, Section


def sections(section: type[Section] = Config) -> Iterator[type[Section]]:
    """A table and all that are in it."""
    yield section
    for field in msgspec.structs.fields(section):
        for inner in flat(field.type):
            if isinstance(inner, type) and issubclass(inner, Section):
                yield from sections(inner)


def flat(kind: Any) -> Iterator[Any]:
    """A type and all that it is made of."""
    yield kind
    for inner in get_args(kind):
        yield from flat(inner)
