"""How deep and how large JSON is, found out without reading it. For JSON that is known to be sound."""

import re

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_ONE_KIND = bytes.maketrans(b"[]", b"{}")
_DULL = bytes(set(range(256)) - set(b'{}[]"'))


def deeper_than(raw: bytes, most: int) -> bool:
    """Whether objects and arrays lie in one another more than `most` deep."""
    if raw.count(b"{") + raw.count(b"[") <= most:
        return False
    if b"\\" in raw:
        raw = _ESCAPED.sub(b"", raw)  # so that each quote left begins or ends a text
    brackets = b"".join(raw.translate(_ONE_KIND, _DULL).split(b'"')[::2])
    for _ in range(most):
        brackets = brackets.replace(b"{}", b"")  # the innermost of each
        if not brackets:
            return False
    return bool(brackets)
