"""Certificates of our own: made, and read again. Values in, values out; only the keys are random."""

import datetime as dt
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.authority.subject import Permitted, Subject

AUTHORITY_LIFE = dt.timedelta(days=3652)
LEAF_LIFE = dt.timedelta(days=90)
_BACK = dt.timedelta(hours=1)  # clients' clocks may be this late
_LONGEST_NAME = 64  # of a common name (RFC 5280, A.1)
_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, which is never shown."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> bytes:
        """The certificate alone, PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def private(self) -> bytes:
        """Both, as one PEM file: replaced together, they always belong together."""
        form = serialization.PrivateFormat.PKCS8
        return self.public + self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())

    @property
    def ends(self) -> float:
        """Seconds since 1970 at which clients cease to accept it."""
        return self.certificate.not_valid_after_utc.timestamp()

    @property
    def begins(self) -> float:
        """Seconds since 1970 from which clients accept it."""
        return self.certificate.not_valid_before_utc.timestamp()


def read(data: bytes) -> Issued:
    """What `Issued.private` wrote.

    Raises:
        ValueError: it is something else.
    """
    certificate = x509.load_pem_x509_certificate(data)
    key = serialization.load_pem_private_key(data, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("the key is not that of the certificate")
    return Issued(certificate, key)


def permitted_by(authority: Issued) -> Permitted:
    """What it may sign."""
    found = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    subtrees = found.permitted_subtrees or []
    return Permitted(
        tuple(one.value for one in subtrees if isinstance(one, x509.DNSName)),
        tuple(ip_network(str(one.value)) for one in subtrees if isinstance(one, x509.IPAddress)),
    )


def subject_in(leaf: Issued) -> Subject:
    """What a certificate is for."""
    found = leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [one for one in found.get_values_for_type(x509.IPAddress) if isinstance(one, IPv4Address | IPv6Address)]
    return Subject(tuple(found.get_values_for_type(x509.DNSName)), tuple(addresses))


def issued_by(leaf: Issued, authority: Issued) -> bool:
    """Whether a certificate has this authority's signature."""
    try:
        leaf.certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def new_authority(permitted: Permitted, machine: str, now: float) -> Issued:
    """An authority for ten years that can sign what is permitted, for servers, and nothing else.

    Args:
        permitted: what it may sign; not empty.
        machine: whose it is, for those who look through a list of authorities.
        now: seconds since 1970.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # Two authorities of one machine are told apart by name: some clients choose the issuer by that alone.
    words = f"appliance {machine}"[: _LONGEST_NAME - 9] + f" {identifier.digest.hex()[:8]}"
    subtrees: list[x509.GeneralName] = [x509.DNSName(name) for name in permitted.names]
    subtrees += [x509.IPAddress(network) for network in permitted.networks]
    builder = (
        _builder(words, words, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.NameConstraints(subtrees, None), critical=True)
        .add_extension(_SERVER, critical=False)
        .add_extension(identifier, critical=False)
    )
    return Issued(builder.sign(key, hashes.SHA256()), key)


def new_leaf(authority: Issued, subject: Subject, now: float) -> Issued:
    """A server's certificate for ninety days, or as long as the authority lasts.

    Args:
        authority: permits everything in `subject`.
        subject: what the server is called; not empty.
        now: seconds since 1970.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    left = dt.timedelta(seconds=authority.ends - now)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in subject.names]
    alternatives += [x509.IPAddress(address) for address in subject.addresses]
    issuer = authority.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key())
    builder = (
        _builder("appliance", str(issuer), key, now, min(LEAF_LIFE, left))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(_SERVER, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return Issued(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, now: float, life: dt.timedelta
) -> x509.CertificateBuilder:
    begin = dt.datetime.fromtimestamp(int(now), dt.UTC)
    return x509.CertificateBuilder(
        _common(issuer), _common(name), key.public_key(), x509.random_serial_number(), begin - _BACK, begin + life
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Of an authority, which signs certificates and no more, or of a server."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _common(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
