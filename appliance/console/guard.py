"""What a browser has to send with an order, and what it may do with a page.

An order needs the session's cookie, which is `SameSite=Strict`, the session's token in the form, and an `Origin` that
is the very host which was asked (or none: then it is no browser's). Each of them alone would do.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from appliance.domain.http import Headers, Request
from appliance.errors import GatewayError

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PROTECTED: Headers = [
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),  # with "no-referrer" forms would come from the origin "null"
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
]


def cookie(name: str, value: str, *, secure: bool, lasts: int | None = None, readable: bool = False) -> tuple[str, str]:
    """The header that sets a cookie.

    Args:
        name: without characters that would need quoting.
        value: the same.
        secure: over TLS only.
        lasts: seconds; 0 removes it, None keeps it until the browser ends.
        readable: for the page's own script too.
    """
    parts = [f"{name}={value}", "Path=/", "SameSite=Strict"]
    parts += [] if readable else ["HttpOnly"]
    parts += ["Secure"] if secure else []
    parts += [] if lasts is None else [f"Max-Age={lasts}"]
    return "set-cookie", "; ".join(parts)


def cookie_of(request: Request, name: str) -> str:
    """The value of a cookie; "" where it was not sent, or more than once with different values."""
    values = set()
    for header, text in request.headers:
        if header == "cookie":
            for part in text.split(";"):
                try:
                    found = SimpleCookie(part.strip()).get(name)
                except CookieError:
                    continue
                if found is not None:
                    values.add(found.value)
    return values.pop() if len(values) == 1 else ""


def check_origin(request: Request) -> None:
    """Let an order pass that comes from a page of ours.

    Raises:
        GatewayError: `foreign_origin`.
    """
    site, origin = request.header("sec-fetch-site"), request.header("origin")
    if site not in (None, "same-origin", "none") or (origin is not None and not _is_host(origin, request)):
        message = "This order comes from a page of another site, and is not carried out. Use the console itself."
        raise GatewayError("foreign_origin", message)


def check_token(expected: str, given: str) -> None:
    """Let an order pass that carries its session's token.

    Raises:
        GatewayError: `foreign_origin`.
    """
    if not expected or not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        message = "The page is older than this session, so the order was not carried out. Load it again, and repeat."
        raise GatewayError("foreign_origin", message)


def _is_host(origin: str, request: Request) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == (request.header("host") or "").lower() != ""
    except ValueError:
        return False
