"""Members of forms, read. Pure."""

import tomllib
from typing import Any

import msgspec

from appliance.config.schema import Limits
from appliance.errors import OperatorError

LIMITS = tuple((field.name, field.name.replace("_", " ")) for field in msgspec.structs.fields(Limits))
_LONGEST = 15  # digits of a limit


class FormError(OperatorError):
    """A member of a form cannot be read.

    Attributes:
        field: which.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def words(text: str) -> list[str]:
    """Words with commas or line ends between them."""
    return [word for part in text.splitlines() for word in (one.strip() for one in part.split(",")) if word]


def limits(form: dict[str, str]) -> dict[str, int] | None:
    """The limits of a form; None without any.

    Raises:
        FormError: one is no number.
    """
    found = {name: _number(form.get(f"limit_{name}", ""), f"limit_{name}") for name, _ in LIMITS}
    return {name: value for name, value in found.items() if value is not None} or None


def table(form: dict[str, str], field: str) -> dict[str, Any]:
    """The fields of a request, one a line, as TOML.

    Raises:
        FormError: it is none.
    """
    try:
        return tomllib.loads(form.get(field, "").replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise FormError(field, f"Write one field a line, such as temperature = 0.7 ({error}).") from None


def _number(text: str, field: str) -> int | None:
    digits = text.strip().replace("_", "").replace(",", "")
    if not digits:
        return None
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > _LONGEST:
        raise FormError(field, "Write digits, or leave it empty for no limit.")
    return int(digits)
