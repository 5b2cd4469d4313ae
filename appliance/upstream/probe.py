"""One health probe of one model server."""

from appliance.domain.status import ProbeAnswer
from appliance.domain.targets import Endpoint
from appliance.errors import UpstreamError
from appliance.upstream.connection import OutRequest
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.upstreams import UpstreamReply, Upstreams

_BODY_LIMIT = 2**20
# Another number than any request uses gives probes a pool of their own, so that none waits behind a busy model.
_CONNECTIONS = 2
_NAME = "_probes"  # for all of them


async def probe(
    upstreams: Upstreams, endpoint: Endpoint, path: str, *, loading_status: int | None, timeout: float = 5.0
) -> ProbeAnswer:
    """Ask whether a server can serve. What goes wrong between us and it becomes words, never an exception.

    Args:
        upstreams: the connections to send through.
        endpoint: which server.
        path: under its root.
        loading_status: the status that means "not yet".
        timeout: seconds for the whole probe.
    """
    deadlines = Deadlines(connect=timeout, first_byte=timeout, between_bytes=timeout, total=timeout)
    try:
        reply = await upstreams.send(
            endpoint, OutRequest("GET", path), deadlines, max_connections=_CONNECTIONS, name=_NAME
        )
        try:
            body = await reply.read(_BODY_LIMIT)
        finally:
            await reply.aclose()
    except UpstreamError as error:
        return ProbeAnswer(ok=False, detail=str(error))
    return _judge(reply, path, body, loading_status)


async def send(
    upstreams: Upstreams, endpoint: Endpoint, method: str, path: str, body: bytes, *, timeout: float = 60.0
) -> tuple[int, bytes]:
    """One request of the appliance itself to an engine: its status and at most 1 MiB of its body.

    Args:
        upstreams: the connections to send through.
        endpoint: which server.
        method: GET or POST.
        path: under its root, with its query.
        body: JSON, or nothing.
        timeout: seconds for the whole of it.

    Raises:
        OSError: nothing answered, or not in time.
    """
    deadlines = Deadlines(connect=timeout, first_byte=timeout, between_bytes=timeout, total=timeout)
    headers = [("content-type", "application/json")] if body else []
    request = OutRequest(method, path, headers, body)
    try:
        reply = await upstreams.send(endpoint, request, deadlines, max_connections=_CONNECTIONS, name=_NAME)
        try:
            return reply.status, await reply.read(_BODY_LIMIT)
        finally:
            await reply.aclose()
    except UpstreamError as error:
        raise OSError(str(error)) from error


def _judge(reply: UpstreamReply, path: str, body: bytes, loading_status: int | None) -> ProbeAnswer:
    status = reply.status
    if 200 <= status < 300:
        return ProbeAnswer(ok=True, body=body)
    if status == loading_status:
        return ProbeAnswer(ok=False, loading=True, detail="it is loading its model", body=body)
    detail = f"GET {path} answered {status}"
    if 300 <= status < 400:
        detail += ", a redirect; those are never followed, so the URL must name the server itself"
    elif status in (401, 403):
        detail += ": it does not accept the credential"
    return ProbeAnswer(ok=False, detail=detail, body=body)
