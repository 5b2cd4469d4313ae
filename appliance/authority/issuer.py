"""The files of our own authority. Everything here blocks; a server calls it in a thread.

`state_dir/tls` has `authority.pem` and `server.pem` (certificate and key, 0600), and `ca.pem`, which is public.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from appliance.authority.issue import Issued, issued_by, new_authority, new_leaf, permitted_by, read, subject_in
from appliance.authority.subject import Interface, Subject, permitted_for, subject_of
from appliance.config.schema import Tls
from appliance.durable import replace_file
from appliance.errors import OperatorError

_LOG = logging.getLogger("appliance.tls")
_DIRECTORY, _AUTHORITY, _SERVER, _PUBLIC = "tls", "authority.pem", "server.pem", "ca.pem"
_AHEAD = 30 * 86400.0  # seconds before its end at which a server's certificate is made anew
_LOOK = 10.0  # seconds between two looks at the clock and at the addresses of the machine


def internal_pair(state_dir: Path) -> Tls:
    """Where the server's certificate and its key are: one file, which is replaced as a whole."""
    place = str(state_dir / _DIRECTORY / _SERVER)
    return Tls(cert=place, key=place)


def internal_authority(state_dir: Path) -> Tls:
    """The same of the authority."""
    place = str(state_dir / _DIRECTORY / _AUTHORITY)
    return Tls(cert=place, key=place)


class Issuer:
    """Keeps the files as they should be: an authority, and a certificate for the names of today that lasts.

    Args:
        state_dir: made where it is not there.
        names: `server.names`.
        machine: the host name of this machine.
        listen: the host of `server.listen`.
        interfaces: asks for the addresses of this machine.
        now: seconds since 1970.
    """

    def __init__(
        self,
        state_dir: Path,
        names: Sequence[str],
        machine: str,
        listen: str,
        interfaces: Callable[[], list[Interface]],
        now: Callable[[], float],
    ) -> None:
        self._directory = state_dir / _DIRECTORY
        self._state_dir = state_dir
        self._names = names
        self._machine = machine
        self._listen = listen
        self._interfaces = interfaces
        self._now = now
        self._wanted = trio.Event()
        self._left_out: list[str] = []
        self.pair = internal_pair(state_dir)
        self.public = b""  # the authority's certificate, PEM

    def settle(self) -> bool:
        """Make what is missing or due; whether the server's certificate is another one now.

        Raises:
            OperatorError: a file cannot be read or written.
        """
        try:
            return self._settle(self._authority())
        except OSError as error:
            raise OperatorError(f"TLS: {error.filename or self._directory}: {error.strerror or error}") from error

    def renew(self, *, authority: bool) -> None:
        """Make the server's certificate anew now, and with `authority` first another authority.

        Raises:
            OperatorError: a file cannot be read or written.
        """
        try:
            self._settle(self._made_authority() if authority else self._authority(), anew=True)
        except OSError as error:
            raise OperatorError(f"TLS: {error.filename or self._directory}: {error.strerror or error}") from error

    def answer_to(self, names: Sequence[str]) -> None:
        """Take new `server.names`; `run` sees to it at once."""
        self._names = names
        self._wanted.set()

    async def run(self) -> None:
        """Keep everything in order until cancelled. Whoever shows the certificate looks at its file anyway."""
        while True:
            with trio.move_on_after(_LOOK):
                await self._wanted.wait()
            self._wanted = trio.Event()
            try:
                await trio.to_thread.run_sync(self.settle)
            except OperatorError as error:
                _LOG.warning("%s; the certificate made before stays in use", error)

    def left_out(self) -> list[str]:
        """Names and addresses of ours that the authority may not sign: those added after it was made."""
        return self._left_out

    def _settle(self, authority: Issued, *, anew: bool = False) -> bool:
        self.public = authority.public
        public = self._directory / _PUBLIC
        if not public.exists() or public.read_bytes() != self.public:
            self._write(_PUBLIC, self.public)
        subject = subject_of(self._names, self._machine, self._listen, self._interfaces())
        signed = permitted_by(authority).part_of(subject)
        left_out = [word for word in subject.words() if word not in signed.words()]
        if left_out != self._left_out:
            self._left_out = left_out
            if left_out:
                _LOG.warning(
                    "TLS: the authority was made before we answered to %s, and may not sign that; a new one is made by "
                    "`appliance cert renew --authority`, and all clients have to trust it anew",
                    ", ".join(left_out),
                )
        if not anew and self._is_good(authority, signed):
            return False
        leaf = new_leaf(authority, signed, self._now())
        self._write(_SERVER, leaf.private)
        _LOG.info("TLS: issued a certificate for %s", ", ".join(signed.words()))
        return True

    def _is_good(self, authority: Issued, signed: Subject) -> bool:
        try:
            leaf = read((self._directory / _SERVER).read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        now = self._now()
        enough = leaf.ends - now > _AHEAD or leaf.ends >= authority.ends
        same = set(subject_in(leaf).words()) == set(signed.words())
        return enough and same and leaf.begins <= now and issued_by(leaf, authority)

    def _authority(self) -> Issued:
        """The authority; it is made when there is none, or when it has ended and nobody accepts it any more."""
        place = self._directory / _AUTHORITY
        try:
            found = read(place.read_bytes())
        except FileNotFoundError:
            return self._made_authority()
        except ValueError:
            raise OperatorError(
                f"TLS: {place} holds no authority; put it back from a copy, or make a new one, which all clients "
                "have to trust anew: appliance cert renew --authority"
            ) from None
        return found if found.ends > self._now() else self._made_authority()

    def _made_authority(self) -> Issued:
        interfaces = self._interfaces()
        subject = subject_of(self._names, self._machine, self._listen, interfaces)
        made = new_authority(permitted_for(subject, interfaces), self._machine.partition(".")[0], self._now())
        self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._write(_AUTHORITY, made.private)
        _LOG.info("TLS: made an authority; what clients need to trust it is told by `appliance cert trust`")
        return made

    def _write(self, name: str, data: bytes) -> None:
        owner = self._state_dir.stat()
        if os.geteuid() == 0:  # the command line may be root's, and the server is not
            os.chown(self._directory, owner.st_uid, owner.st_gid)
        replace_file(self._directory / name, data, owner=(owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None)
