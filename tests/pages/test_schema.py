from typing import Annotated, Any, Literal

import msgspec

from appliance.pages.schema import Schemas


class _Inner(msgspec.Struct):
    again: "list[_Inner] | None" = None


class Outer(msgspec.Struct):
    word: Annotated[str, msgspec.Meta(min_length=1, pattern="^a")]
    choice: Literal["a", "b"]
    number: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    count: Annotated[int, msgspec.Meta(gt=1)] = 2
    items: Annotated[list[int], msgspec.Meta(min_length=3)] = []
    inner: _Inner | None = None
    anything: msgspec.Raw = msgspec.Raw()
    told: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "array"})] = msgspec.Raw()
    mapping: dict[str, Any] = {}
    flag: bool | msgspec.UnsetType = msgspec.UNSET


def test_every_kind_of_member_is_described_with_its_bounds() -> None:
    schemas = Schemas()
    assert schemas.of(Outer) == {"$ref": "#/components/schemas/Outer"}
    outer = schemas.made["Outer"]
    assert outer["required"] == ["word", "choice"]
    assert outer["properties"] == {
        "word": {"type": "string", "minLength": 1, "pattern": "^a"},
        "choice": {"enum": ["a", "b"]},
        "number": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 2}, {"type": "null"}]},
        "count": {"type": "integer", "exclusiveMinimum": 1},
        "items": {"type": "array", "items": {"type": "integer"}, "minItems": 3},
        "inner": {"anyOf": [{"$ref": "#/components/schemas/Inner"}, {"type": "null"}]},
        "anything": {},
        "told": {"type": "array"},
        "mapping": {"type": "object"},
        "flag": {"type": "boolean"},
    }


def test_a_structure_that_holds_itself_is_made_once() -> None:
    schemas = Schemas()
    schemas.of(_Inner)
    (array, _) = schemas.made["Inner"]["properties"]["again"]["anyOf"]
    assert array == {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}}
