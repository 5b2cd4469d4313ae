"""TLS of the public door: from the configuration to the certificates that it shows, and the tasks that keep them so."""

import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from appliance.access.hosts import KnownHosts
from appliance.authority.interfaces import interfaces
from appliance.authority.issuer import Issuer
from appliance.config.check import is_loopback, split_listen
from appliance.config.pem import pairs_of
from appliance.config.schema import Config
from appliance.door.certificates import Certificates

_LOG = logging.getLogger("appliance.serve")


@dataclass(frozen=True, slots=True)
class Encryption:
    """What the door needs for TLS.

    Attributes:
        hosts: that are ours.
        certificates: that it shows; None where TLS is off.
        issuer: makes them; None where they are somebody else's.
    """

    hosts: KnownHosts
    certificates: Certificates | None = None
    issuer: Issuer | None = None

    def authority(self) -> bytes:
        """The certificate of our own authority, PEM; empty where there is none."""
        return self.issuer.public if self.issuer else b""

    def answer_to(self, names: Sequence[str]) -> None:
        """Take new `server.names`, for Host headers as well."""
        self.hosts.answer_to(names)
        if self.issuer is not None:
            self.issuer.answer_to(names)

    async def run(self) -> None:
        """Renew, and show what was renewed, until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.issuer is not None:
                nursery.start_soon(self.issuer.run, name="authority")
            if self.certificates is not None:
                nursery.start_soon(self.certificates.watch, name="certificates")


def encryption_of(config: Config, hosts: KnownHosts) -> Encryption:
    """What `server.tls` asks for; an authority of ours and its first certificate are made here.

    Raises:
        OperatorError: the files cannot be used.
    """
    server = config.server
    date = partial(time.clock_gettime, time.CLOCK_REALTIME)
    pairs, issuer = pairs_of(server.tls), None
    host = split_listen(server.listen)[0]
    if server.tls == "internal":
        issuer = Issuer(Path(server.state_dir), server.names, socket.gethostname(), host, interfaces, date)
        issuer.settle()
        pairs = (issuer.pair,)
    elif not pairs and not is_loopback(host):
        _LOG.warning("TLS is off: keys and prompts cross the network to %s in the clear", server.listen)
    return Encryption(hosts, Certificates(pairs, http2=server.http2, now=date) if pairs else None, issuer)
