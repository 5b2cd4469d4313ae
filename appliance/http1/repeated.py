"""The heads of one client connection, of which nearly all repeat the one before byte for byte.

A client writes its heads from one template, so that on one connection only the length of the body differs from request
to request. A head is a string of a regular grammar and its meaning a function of its bytes; what was read once and
comes again need not be read again.
"""

import re
from dataclasses import replace

from appliance.http1.incoming import MOST_LENGTH_DIGITS, HeadLimits, RequestHead, parse_head

_LONGEST = 4096  # bytes of a head that is remembered: a connection that waits holds one
_LENGTH = re.compile(rb"\r\n(?i:content-length):[ \t]*([0-9]+)[ \t]*\r\n")  # one at most, in a head that was accepted


class Heads:
    """Reads one head after another.

    Args:
        limits: every one of them is applied to every head.
    """

    __slots__ = ("_after", "_before", "_digits", "_last", "_limits")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._last: RequestHead | None = None
        # The last head is these three in a row. Without a length all of it is the first.
        self._before = self._digits = self._after = b""

    def read(self, raw: bytes) -> RequestHead:
        """What `parse_head` says of these bytes; the same object as before when they are the same as before.

        Raises:
            GatewayError: as `parse_head`. The connection cannot be used again.
        """
        last = self._last
        if last is not None and raw.startswith(self._before) and raw.endswith(self._after):
            digits = raw[len(self._before) : len(raw) - len(self._after)]
            if digits == self._digits:
                return last
            if (
                digits.isdigit()
                and len(digits) <= MOST_LENGTH_DIGITS
                and last.length
                and (length := int(digits))  # to have a body or not to have one makes a difference to other headers
                and len(raw) <= self._limits.head
            ):
                return self._with_length(last, length, digits)
        head = parse_head(raw, self._limits)
        if len(raw) <= _LONGEST:
            self._remember(head, raw)
        return head

    def _with_length(self, last: RequestHead, length: int, digits: bytes) -> RequestHead:
        text = digits.decode()
        headers = [(name, text if name == "content-length" else value) for name, value in last.headers]
        self._last = head = replace(last, headers=headers, length=length)
        self._digits = digits
        return head

    def _remember(self, head: RequestHead, raw: bytes) -> None:
        self._last = head
        start, end = match.span(1) if head.length and (match := _LENGTH.search(raw)) else (len(raw), len(raw))
        self._before, self._digits, self._after = raw[:start], raw[start:end], raw[end:]
