"""The tokens of a stream look all alike: their events differ in one string only, the token's own text.

So one of them is looked at, and of the others it is only proved that they are the same event around another string.
That takes a few copies and comparisons for a whole run of events. Where anything else differs (a finish reason, a
count, the second of `created`), an event is not of the shape and has to be looked at.
"""

import re

import msgspec

from appliance.wire.chunk import Chunk, peek

# A member that brings text, and its value. In valid JSON this can be nothing else: a quote after a letter ends a
# string, a colon after a string makes it a key, and what follows the colon is a value from its first quote on.
_TEXT = re.compile(rb'"(content|text|reasoning|reasoning_content|arguments)": ?"((?:[^"\\]++|\\.)++)"')
# The inside of JSON strings, with blanks between them so that no escape can reach into the next one.
_STRINGS = re.compile(
    rb'(?:[^"\\\x00-\x1f]'
    rb'|\\(?:["\\/bfnrt]|u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))*+"
)


class TokenShape(msgspec.Struct, frozen=True, gc=False):
    """An event with a hole where the token's text is.

    Attributes:
        index: the choice that such an event belongs to.
        member: the name of the text, where the event brings nothing else; empty where it does.
    """

    index: int
    member: str
    _head: bytes  # of an event, to the opening quote of the text
    _tail: bytes  # from the closing quote to the blank line
    _joint: bytes
    _tail_of_line: int  # where the text ends, counted from the end of the line
    _always: bool  # the event brings content even when the string is empty

    def around(self, text: bytes) -> bytes:
        """The event of this shape around a text, which is the inside of a JSON string."""
        return b"".join((self._head, text, self._tail))

    def is_one(self, run: bytes) -> bool:
        """Whether a run is one event of this shape that brings content."""
        start, stop = len(self._head), len(run) - len(self._tail)
        return (
            start < stop
            and run.startswith(self._head)
            and run.endswith(self._tail)
            and _STRINGS.fullmatch(run, start, stop) is not None
        )

    def tokens(self, run: bytes) -> int | None:
        """How many events of a run bring content; None unless every event of it is of this shape."""
        texts = self.texts(run)
        if texts is None:
            return None
        return len(texts) if self._always else len(texts) - texts.count(b"")

    def texts(self, run: bytes) -> list[bytes] | None:
        """The texts of a run, as they stand inside their quotes; None unless every event of it is of this shape."""
        start, stop = len(self._head), self._tail_of_line
        texts = [line[start:stop] for line in run.split(b"\n")[:-1:2]]  # a guess; what counts is the next line
        if b"".join((self._head, self._joint.join(texts), self._tail)) != run:
            return None
        if not _STRINGS.fullmatch(b" ".join(texts)):
            return None
        return texts


def shape_of(data: bytes, chunk: Chunk) -> TokenShape | None:
    """The shape of the events that are like this one, if it is an ordinary token.

    Args:
        data: of the event `data: DATA`, blank line, written with newlines only.
        chunk: what it says.
    """
    if chunk.pieces != 1 or len(chunk.open) != 1 or chunk.ended or chunk.usage is not None or chunk.error:
        return None
    found = None
    for found in _TEXT.finditer(data):  # noqa: B007 - the last one is wanted
        pass
    if found is None or b"\n" in data or b"\r" in data:
        return None
    head, tail = b"data: " + data[: found.start(2)], data[found.end(2) :] + b"\n\n"
    # What is looked at in a chunk can depend on the text in one way only: whether it is empty.
    empty = peek(data[: found.start(2)] + data[found.end(2) :])
    member = "" if empty.pieces else found[1].decode()
    return TokenShape(chunk.open[0], member, head, tail, tail + head, 2 - len(tail), empty.pieces == 1)
