"""Personal data and secrets: what they look like, what their checksums say, what stands in their place.

A pattern alone finds too much: every long number looks like a card. Where a kind of number carries a checksum it is
checked, by the library that knows the rules of each country, so that an order number does not become a finding.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from stdnum import iban, luhn
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.us import ssn

_SHORTEST_ADDRESS = len("1.1.1.1")


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of thing that can be found in a text.

    Attributes:
        category: its name in findings, metrics and `entities`.
        pattern: what it looks like.
        check: whether a text that looks like it is one; None when looking like it is enough.
        message: for `findings`.
        placeholder: what stands in its place after `redact`.
    """

    category: str
    pattern: str
    check: Callable[[str], bool] | None = None
    message: str = "PII detected"
    placeholder: str = ""

    def __post_init__(self) -> None:
        if not self.placeholder:
            object.__setattr__(self, "placeholder", f"[{self.category.upper()}]")


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def _phone(text: str) -> bool:
    return 7 <= len(_digits(text)) <= 15  # E.164 has no longer ones


def _card(text: str) -> bool:
    digits = _digits(text)
    return digits[0] in "23456" and len(set(digits)) > 1 and luhn.is_valid(digits)


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return len(text) >= _SHORTEST_ADDRESS  # `a::b` is an address, but more often a piece of code


def _national(text: str) -> bool:
    return any(kind.is_valid(text) for kind in (ssn, idnr, nir, dni, nie, codicefiscale, pesel))


# The whole block where its end is in sight, else its beginning: a key without its last lines is no secret less.
_PRIVATE_KEY = (
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:\s{1,2}[A-Za-z\-]{1,20}: .{1,80}){0,3}"
    + 3 * r"[A-Za-z0-9+/=\s\\]{0,1000}"
    + r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
)
_SECRETS = (
    r"sk-[A-Za-z0-9_\-]{20,200}",  # OpenAI, Anthropic and whoever copied the form
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bgh[opsur]_[A-Za-z0-9]{36,255}\b",
    r"\bgithub_pat_[A-Za-z0-9_]{22,255}\b",
    r"\bglpat-[A-Za-z0-9_\-]{20,64}",
    r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,255}",
    r"\bhf_[A-Za-z0-9]{30,64}\b",
    r"\bAIza[0-9A-Za-z_\-]{35}",
    r"\beyJ[A-Za-z0-9_\-]{8,900}\.eyJ[A-Za-z0-9_\-]{8,900}\.[A-Za-z0-9_\-]{16,900}",  # a signed JSON web token
    _PRIVATE_KEY,
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_PERSON_NUMBERS = (
    r"\b\d{3}-\d{2}-\d{4}\b",  # United States
    r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b",  # Germany; Poland has eleven digits as well
    r"\b[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}\b",  # France
    r"\b[XYZ]?\d{7,8}-?[A-Z]\b",  # Spain
    r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b",  # Italy
)

DETECTORS = MappingProxyType(
    {
        detector.category: detector
        for detector in (
            Detector(
                "email",
                r"[A-Za-z0-9._%+\-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}\b",
            ),
            Detector("card", r"\b\d(?:[ \-]?\d){12,18}\b", _card),
            Detector("iban", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", iban.is_valid),
            Detector("national_id", "|".join(_PERSON_NUMBERS), _national),
            Detector("national_id_uk", r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b"),
            Detector("national_id_nl", r"(?i:\bbsn)[ :#]{1,3}\d{9}\b", lambda text: bsn.is_valid(_digits(text))),
            Detector(
                "phone",
                r"\+\d{1,3}(?:[ .\-/]?\(?\d{1,5}\)?){2,6}\b"
                r"|\(?\b\d{3}\)?[ .\-]\d{3}[ .\-]\d{4}\b"
                r"|\b0[1-9]\d{0,3}[ /\-]\d{3,4}[ \-]?\d{3,5}\b",
                _phone,
            ),
            Detector(
                "ip",
                rf"\b{_OCTET}(?:\.{_OCTET}){{3}}\b"
                # Two colons at least: with one it would be any time of day.
                r"|(?:\b[0-9A-Fa-f]{1,4}:|:)[0-9A-Fa-f]{0,4}:(?:[0-9A-Fa-f]{0,4}:?){0,7}",
                _address,
            ),
            Detector("secret", "|".join(_SECRETS), message="Secret detected"),
        )
    }
)
