"""`/ca.pem`: the authority that a client has to trust. It is no secret, and who trusts it compares its fingerprint."""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.api.routes import Route
from appliance.domain.http import Headers, Reply, Request
from appliance.errors import GatewayError

_HEADERS: Headers = [
    ("content-type", "application/x-x509-ca-cert"),  # browsers offer to import it
    ("content-disposition", 'attachment; filename="appliance-ca.pem"'),
    ("cache-control", "no-cache"),
]


@dataclass(frozen=True, slots=True)
class Trust:
    """Gives the certificate of our own authority to anybody.

    Attributes:
        authority: PEM; empty where there is none.
    """

    authority: Callable[[], bytes]

    def routes(self) -> list[Route]:
        """The route."""
        return [Route("GET", "/ca.pem", self._authority)]

    async def _authority(self, _request: Request, _: str) -> Reply:
        found = self.authority()
        if not found:
            raise GatewayError("unknown_url", 'This server has no authority of its own (`tls = "internal"`).')
        return Reply(200, list(_HEADERS), found)
