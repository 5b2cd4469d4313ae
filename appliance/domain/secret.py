"""Text that must never be printed."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential. Its repr and str are masked, so that a stray log line or traceback cannot show it."""

    reveal: str = field(repr=False)

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__
