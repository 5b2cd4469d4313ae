"""The files of `server.tls`: a certificate and its key are read, checked against each other and described.

OpenSSL judges the pair, because it is what will use it; the library `cryptography` only says what a certificate holds.
No text here repeats anything out of a key file.
"""

import datetime as dt
import os
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from appliance.config.check import Finding
from appliance.config.locate import ConfigPath, dotted
from appliance.config.schema import Server, Tls

_SOON = 14 * 86400  # seconds before its end at which a certificate is worth a warning
_READABLE = "name a PEM file that the appliance's user may read"
_KEY_PEM = "put a private key in PEM form there, without a passphrase"


class BadPairError(Exception):
    """A certificate and key that cannot be used.

    Attributes:
        setting: which of the two is at fault.
        what: what is wrong.
        fix: what to do.
    """

    def __init__(self, tls: Tls, setting: Literal["cert", "key"], what: str, fix: str) -> None:
        super().__init__(f"TLS: {getattr(tls, setting)} {what}; {fix}")
        self.setting = setting
        self.what = what
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Pair:
    """What is known of a certificate and its key.

    Attributes:
        tls: the files.
        names: the certificate's DNS names in lower case; "*.lan" stands for one label.
        not_before, not_after: seconds since 1970 between which clients accept it.
        exposed: every user of this machine may read the key.
    """

    tls: Tls
    names: tuple[str, ...]
    not_before: float
    not_after: float
    exposed: bool

    def warnings(self, now: float) -> list[str]:
        """What does not keep the pair from being used, but should not stay so; `now` in seconds since 1970."""
        found = []
        if self.not_after <= now:
            found.append(f"{self.tls.cert} expired on {_day(self.not_after)}: clients refuse it")
        elif self.not_after <= now + _SOON:
            found.append(f"{self.tls.cert} expires on {_day(self.not_after)}")
        if self.not_before > now:
            found.append(f"{self.tls.cert} is not valid before {_day(self.not_before)}: clients refuse it until then")
        if self.exposed:
            found.append(f"{self.tls.key} can be read by every user of this machine; chmod o-rwx it")
        return found


@dataclass(frozen=True, slots=True)
class Described:
    """What a certificate says, for people.

    Attributes:
        name: its own, "" where it has none.
        authority: it signs others.
        subjects: host names and addresses that it is for; of an authority, those that it may sign, and all without any.
        not_after: seconds since 1970.
        fingerprint: SHA-256, as openssl prints it.
    """

    name: str
    authority: bool
    subjects: tuple[str, ...]
    not_after: float
    fingerprint: str


def describe(data: bytes) -> Described:
    """The first certificate of a PEM file, which has been checked before."""
    found = x509.load_pem_x509_certificates(data)[0]
    authority = _is_authority(found)
    names = _permitted(found) if authority else _alternatives(found)
    common = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Described(
        str(common[0].value) if common else "",
        authority,
        tuple(str(name.value).lower() for name in names if isinstance(name, x509.DNSName | x509.IPAddress)),
        found.not_valid_after_utc.timestamp(),
        found.fingerprint(hashes.SHA256()).hex(":").upper(),
    )


def pairs_of(tls: str | Tls | tuple[Tls, ...]) -> tuple[Tls, ...]:
    """The pairs that `server.tls` names, the default first; none when TLS is off."""
    if isinstance(tls, str):
        return ()
    return (tls,) if isinstance(tls, Tls) else tls


def check_files(server: Server) -> Iterator[Finding]:
    """Everything that is wrong with the files of `server.tls`."""
    for index, tls in enumerate(pairs_of(server.tls)):
        path: ConfigPath = ("server", "tls") if isinstance(server.tls, Tls) else ("server", "tls", index)
        try:
            read_pair(tls, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except BadPairError as error:
            here = (*path, error.setting)
            yield Finding(here, f"`{dotted(here)}` {error.what}", error.fix)


def read_pair(tls: Tls, context: ssl.SSLContext) -> Pair:
    """Load a certificate chain and its key into a context.

    Raises:
        BadPairError: a file cannot be read, or the two are not a certificate and its key.
    """
    try:
        leaf = x509.load_pem_x509_certificates(Path(tls.cert).read_bytes())[0]
    except OSError as error:
        raise BadPairError(tls, "cert", f"cannot be read ({error.strerror or error})", _READABLE) from None
    except ValueError:
        raise BadPairError(tls, "cert", "holds no PEM certificate", _READABLE) from None
    try:
        with Path(tls.key).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise BadPairError(tls, "key", f"cannot be read ({error.strerror or error})", _READABLE) from None
    _load(tls, context)
    return Pair(
        tls,
        _dns_names(leaf),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        exposed=bool(mode & stat.S_IROTH),
    )


def _load(tls: Tls, context: ssl.SSLContext) -> None:
    asked = False

    def passphrase() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(tls.cert, tls.key, passphrase)  # without the last it would ask at the terminal
    except ssl.SSLError as error:
        if asked:
            raise BadPairError(tls, "key", "has a passphrase, and there is nobody to ask for it", _KEY_PEM) from None
        reason = error.reason or ""
        if reason == "KEY_VALUES_MISMATCH":
            fix = "name its own key; the server's certificate comes first in its file, those of authorities after it"
            raise BadPairError(tls, "key", "does not belong to the certificate", fix) from None
        if reason.startswith(("EE_", "CA_")):
            fix = "have a new one issued: RSA with 2048 bits or more, or an elliptic curve"
            raise BadPairError(
                tls, "cert", f"is too weak for OpenSSL ({reason.lower().replace('_', ' ')})", fix
            ) from None
        raise BadPairError(tls, "key", "holds no private key that OpenSSL can use", _KEY_PEM) from None
    except OSError as error:
        raise BadPairError(tls, "key", f"cannot be read ({error.strerror or error})", _READABLE) from None


def _dns_names(leaf: x509.Certificate) -> tuple[str, ...]:
    return tuple(name.value.lower() for name in _alternatives(leaf) if isinstance(name, x509.DNSName))


def _alternatives(leaf: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return []  # clients refuse such a certificate; it can still be the default


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def _permitted(authority: x509.Certificate) -> list[x509.GeneralName]:
    try:
        found = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return []
    return list(found.permitted_subtrees or ())


def _day(timestamp: float) -> str:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC).date().isoformat()
