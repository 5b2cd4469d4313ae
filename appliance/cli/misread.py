"""An answer that a command cannot read because a server of another version gave it, told in one line. Pure.

The commands read answers as they are made by a server of their own version. What they stumble over in one of another
version is told here for all of them; in one of the same version it is a bug, and Python's to tell.
"""

import argparse
from dataclasses import dataclass

from appliance import __version__

STUMBLES = (LookupError, TypeError, ValueError, AttributeError, ExceptionGroup)
"""What reading something of an unknown form raises; a group where tasks read it."""

_LONGEST = 200  # characters of what Python or msgspec say


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command has asked last; `reach` leaves it in the command's arguments as `asked`.

    Attributes:
        what: method and path.
        whom: the server, in words.
        version: of the server; "" where it did not say.
    """

    what: str
    whom: str
    version: str


def misread(args: argparse.Namespace, error: Exception) -> str:
    """What to tell about one of `STUMBLES`; "" where no other version is the reason."""
    asked = getattr(args, "asked", None)
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if not isinstance(asked, Asked) or asked.version == __version__ or isinstance(error, ExceptionGroup):
        return ""
    why = f"no `{error.args[0]}`" if isinstance(error, KeyError) else " ".join(str(error).split())[:_LONGEST]
    said = f"version {asked.version}" if asked.version else "which does not say its version"
    todo = (
        f"Use the command of version {asked.version}, or upgrade the older of the two."
        if asked.version
        else "It is an older one, or none: look at the address, use the command of its own version, or upgrade it."
    )
    return (
        f"{asked.what}: {asked.whom}, {said}, answered in a form that this version, {__version__}, does not know "
        f"({why}). {todo}"
    )
