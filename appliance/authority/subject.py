"""Which names and addresses a certificate of ours has to hold, and what its authority may sign. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)

from appliance.domain.hosts import as_address, is_host_name

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

_LOOPBACK = {4: ip_network("127.0.0.0/8"), 6: ip_network("::1/128")}
_EVERYWHERE = {"0.0.0.0": 4, "::": 6}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a server is called.

    Attributes:
        names: host names in lower case.
        addresses: of this machine, as far as we listen there.
    """

    names: tuple[str, ...]
    addresses: tuple[Address, ...]

    def words(self) -> list[str]:
        """All of it as text."""
        return [*self.names, *map(str, self.addresses)]


@dataclass(frozen=True, slots=True)
class Permitted:
    """What an authority may sign: these names with everything below them, and the addresses of these networks."""

    names: tuple[str, ...]
    networks: tuple[Network, ...]

    def part_of(self, subject: Subject) -> Subject:
        """What of a subject may be signed."""
        return Subject(
            tuple(name for name in subject.names if self._has_name(name)),
            tuple(address for address in subject.addresses if any(address in network for network in self.networks)),
        )

    def words(self) -> list[str]:
        """All of it as text."""
        return [*self.names, *map(str, self.networks)]

    def _has_name(self, name: str) -> bool:
        return any(name == own or name.endswith(f".{own}") for own in self.names)


def subject_of(names: Sequence[str], machine: str, listen: str, interfaces: Sequence[Interface]) -> Subject:
    """What this server is called.

    Args:
        names: `server.names`: host names, or addresses that no interface has (of a balancer, for one).
        machine: the host name of this machine, with or without its domain.
        listen: the host of `server.listen`.
        interfaces: the addresses of this machine with their networks.
    """
    own = machine.lower().rstrip(".")
    short = own.partition(".")[0]
    wanted = [name.lower().rstrip(".") for name in names]
    listening = as_address(listen)
    hosts = [*wanted, *([] if listening else [listen.lower()]), own, short, f"{short}.local", "localhost"]
    addresses: list[Address | None] = [as_address(name) for name in wanted]
    if listening is not None and listen not in _EVERYWHERE:
        addresses.append(listening)
    else:
        version = _EVERYWHERE.get(listen)
        addresses += [one.ip for one in interfaces if version in (None, one.version)]
    addresses += [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    return Subject(
        tuple(dict.fromkeys(name for name in hosts if is_host_name(name))),
        tuple(dict.fromkeys(address for address in addresses if address is not None)),
    )


def permitted_for(subject: Subject, interfaces: Sequence[Interface]) -> Permitted:
    """What an authority for a server has to be able to sign, and no more.

    Of a private network that the machine is in the whole, so that another address from the same DHCP server needs no
    new authority; of anything else the address alone.
    """
    networks = [_network(address, interfaces) for address in subject.addresses]
    kept = [one for one in dict.fromkeys(networks) if not _inside_another(one, networks)]
    return Permitted(subject.names, tuple(kept))


def _network(address: Address, interfaces: Iterable[Interface]) -> Network:
    if address.is_loopback:
        return _LOOPBACK[address.version]
    for interface in interfaces:
        if interface.ip == address and interface.network.is_private:
            return interface.network
    return ip_network(address)


def _inside_another(network: Network, networks: Iterable[Network]) -> bool:
    return any(
        network != other
        and (
            (isinstance(network, IPv4Network) and isinstance(other, IPv4Network) and network.subnet_of(other))
            or (isinstance(network, IPv6Network) and isinstance(other, IPv6Network) and network.subnet_of(other))
        )
        for other in networks
    )
