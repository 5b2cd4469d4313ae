"""Host names and addresses, as they stand in URLs and certificates. Pure."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"  # with "_", which is in names of machines though RFC 952 has it not
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*", re.IGNORECASE)


def as_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a text is, brackets or not; None for a name, and where an interface has to be known as well."""
    try:
        found = ip_address(text.strip("[]"))
    except ValueError:
        return None
    return None if isinstance(found, IPv6Address) and found.scope_id else found


def is_host_name(text: str) -> bool:
    """Whether it is a host name in ASCII, with or without domains, and no address."""
    return _NAME.fullmatch(text) is not None and as_address(text) is None
