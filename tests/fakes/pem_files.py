"""Certificates of an authority of the tests' own, as files."""

import datetime as dt
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.config.schema import Tls


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self._directory = directory

    def write(self, file: str, *names: str, days: float = 365, key_mode: int = 0o600) -> Tls:
        """Write `file`.pem and `file`.key for these names, in place of what is there."""
        cert = self._directory / f"{file}.pem"
        key = self._directory / f"{file}.key"
        end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        begin = min(end, dt.datetime.now(dt.UTC)) - dt.timedelta(days=1)
        issued = self._ca.issue_cert(*names, not_before=begin, not_after=end)
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        key.chmod(key_mode)
        return Tls(cert=str(cert), key=str(key))

    def as_file(self) -> Path:
        """The authority's own certificate."""
        path = self._directory / "authority.pem"
        self._ca.cert_pem.write_to_path(str(path))
        return path

    def client(self, *protocols: str, trusting: bool = True) -> ssl.SSLContext:
        """What a client uses that trusts this authority."""
        context = ssl.create_default_context()
        if trusting:
            self._ca.configure_trust(context)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


def write_nameless(directory: Path, *, bits: int = 2048, passphrase: bytes = b"") -> Tls:
    """An RSA certificate signed by itself and without any host name."""
    key = rsa.generate_private_key(65537, bits)
    nobody = x509.Name([])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(nobody, nobody, key.public_key(), x509.random_serial_number(), now, now)
    cert_file, key_file = directory / "nameless.pem", directory / "nameless.key"
    cert_file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))
    return Tls(cert=str(cert_file), key=str(key_file))
