"""Addresses of clients: parsed, normalised, and found behind trusted proxies. Pure."""

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAX_TEXT = 64
_MAX_HOPS = 64


def parse_address(text: str | None) -> Address | None:
    """An address, with or without a port (`1.2.3.4:80`, `[::1]:80`); None where it is none. An
    IPv4 address in IPv6 clothes (`::ffff:1.2.3.4`) is that IPv4 address."""
    text = (text or "").strip()
    if len(text) > _MAX_TEXT or "%" in text:
        return None
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not (port[0] == ":" and _is_port(port[1:]))):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(port):
            return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """CIDRs or single addresses. Raises ValueError that names the one that is neither."""
    return tuple(_network(text) for text in texts)


def client_address(
    peer: str | None, forwarded_for: str | None, trusted: Sequence[Network]
) -> Address | None:
    """Who is calling: the peer of the connection, unless it is a trusted proxy. Then what it and
    the trusted proxies before it have appended to X-Forwarded-For, read from the right: the first
    address that is no trusted proxy. What lies left of that anybody may have written. None where
    a trusted proxy reported something that is no address."""
    address = parse_address(peer)
    hops = (forwarded_for or "").split(",") if forwarded_for else []
    for hop in reversed(hops[-_MAX_HOPS:]):
        if address is None or not within(address, trusted):
            return address
        address = parse_address(hop)
    return address


def within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def subset(inner: Sequence[Network], outer: Sequence[Network]) -> bool:
    """Whether all of `inner` lies in `outer`. Nothing named means everywhere."""
    if not outer:
        return True
    return bool(inner) and all(any(_lies_in(one, other) for other in outer) for one in inner)


def neighbourhood(address: Address | None) -> str:
    """What counts as one caller where callers are counted: an IPv4 address, an IPv6 /64."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address or "")


def _network(text: str) -> Network:
    try:
        if "%" in text:  # a zone of one machine's own (RFC 4007): in no other's addresses
            raise ValueError
        network = ip_network(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor a CIDR such as 10.1.0.0/16") from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError(f"{text!r}: write IPv4 addresses as such")
    return network


def _lies_in(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.subnet_of(other)
    if isinstance(one, IPv6Network) and isinstance(other, IPv6Network):
        return one.subnet_of(other)
    return False


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5  # noqa: PLR2004 - 65535
