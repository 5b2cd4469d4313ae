"""What goes through to a model server and back: the request as it leaves for one endpoint, the headers that return."""

from appliance.domain.http import Headers
from appliance.domain.targets import Endpoint
from appliance.http1.request import HeadTemplate
from appliance.upstream.connection import OutRequest

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = frozenset({"host", "content-length", "accept-encoding"})
_VARYING = "x-request-id"  # the one header that is another in every request
_TRACE = "traceparent"
_FORM = "multipart/"  # has a boundary of its own in each request: not worth remembering
_TEMPLATES = 64  # most heads remembered for one endpoint; a path with a query makes a new one


class Outgoing:
    """Writes the requests to one endpoint: its prefix, its credential, our headers.

    Rendering and checking a head costs more than sending it, and only the request id and the length differ between two
    requests of a kind, so the rest is rendered once. Not where a head holds the key of whoever asks: nothing may be
    kept of that.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._each_anew = endpoint.shared or endpoint.address.scheme == "https"
        self._templates: dict[tuple[object, ...], HeadTemplate] = {}

    def prepare(self, request: OutRequest) -> OutRequest:
        """The request as it goes out; its head is rendered, except where the connection does that each time anew.

        Raises:
            ValueError: it cannot be written down as HTTP.
        """
        if self._each_anew:
            path = self._endpoint.address.prefix + request.path
            headers = self._headers(request.headers)
            if request.request_id:
                headers.append((_VARYING, request.request_id))
            if request.trace:
                headers.append((_TRACE, request.trace))
            return OutRequest(request.method, path, headers, request.body)
        method, body, request_id = request.method, request.body, request.request_id
        varying = _VARYING if request_id else ""
        key = (method, request.path, varying, *request.headers)
        template = self._templates.get(key) or self._template(key, request, varying)
        head = template.render(request_id, len(body), request.trace)
        return OutRequest(method, request.path, request.headers, body, "", "", head)

    def _template(self, key: tuple[object, ...], request: OutRequest, varying: str) -> HeadTemplate:
        if len(self._templates) >= _TEMPLATES:
            self._templates.clear()
        address = self._endpoint.address
        template = HeadTemplate(
            request.method, address.prefix + request.path, address.authority, self._headers(request.headers), varying
        )
        if not any(value.startswith(_FORM) for _, value in request.headers):
            self._templates[key] = template
        return template

    def _headers(self, headers: Headers) -> Headers:
        credential = self._endpoint.credential
        dropped = _OURS | _HOP_BY_HOP | ({"authorization"} if credential else set())
        headers = [(name, value) for name, value in headers if name.lower() not in dropped]
        headers.append(("accept-encoding", "identity"))
        if credential:
            headers.append(("authorization", f"Bearer {credential.reveal}"))
        return headers


def end_to_end(headers: Headers) -> Headers:
    """Without the headers that concern one connection only, and those that Connection names. Names in lower case."""
    for name, _ in headers:
        if name in _HOP_BY_HOP:
            break
    else:
        return headers  # nearly always
    named = {part.strip().lower() for name, value in headers if name == "connection" for part in value.split(",")}
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP and name not in named]
