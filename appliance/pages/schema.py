"""The JSON schema of what requests are read into.

msgspec has one of its own, which cannot describe members that stay undecoded: here they may be anything,
or what their annotation says.
"""

from typing import Any

from msgspec import inspect

Schema = dict[str, Any]
_PLAIN: tuple[tuple[type[inspect.Type], Schema], ...] = (
    (inspect.BoolType, {"type": "boolean"}),
    (inspect.NoneType, {"type": "null"}),
    (inspect.DictType, {"type": "object"}),
)
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}


class Schemas:
    """Schemas of structures, each made once.

    Attributes:
        made: by name.
    """

    def __init__(self) -> None:
        self.made: dict[str, Schema] = {}

    def of(self, structure: type) -> Schema:
        """A reference to the schema of a structure."""
        return self._of(inspect.type_info(structure))

    def _of(self, kind: inspect.Type) -> Schema:
        match kind:
            case inspect.Metadata():  # words of its own, where the type says less
                return self._of(kind.type) | (kind.extra_json_schema or {})
            case inspect.StructType():
                return self._structure(kind)
            case inspect.UnionType():
                return {"anyOf": [self._of(one) for one in kind.types]}
            case inspect.ListType():
                array = {"type": "array", "items": self._of(kind.item_type)}
                return array | ({"minItems": kind.min_length} if kind.min_length else {})
            case inspect.LiteralType():
                return {"enum": list(kind.values)}
            case inspect.IntType():
                return {"type": "integer"} | _bounds(kind)
            case inspect.FloatType():
                return {"type": "number"} | _bounds(kind)
            case inspect.StrType():
                return {"type": "string"} | _bounds(kind)
        return next((dict(schema) for plain, schema in _PLAIN if isinstance(kind, plain)), {})

    def _structure(self, kind: inspect.StructType) -> Schema:
        name = kind.cls.__name__.lstrip("_").removeprefix("Sound")
        if name not in self.made:
            self.made[name] = {}  # it may hold itself
            required = [field.encode_name for field in kind.fields if field.required]
            properties = {field.encode_name: self._of(field.type) for field in kind.fields}
            self.made[name] = {"type": "object", "properties": properties} | (
                {"required": required} if required else {}
            )
        return {"$ref": f"#/components/schemas/{name}"}


def _bounds(kind: inspect.Type) -> Schema:
    found = {word: getattr(kind, name, None) for name, word in _BOUNDS.items()}
    return {word: value for word, value in found.items() if value is not None}
