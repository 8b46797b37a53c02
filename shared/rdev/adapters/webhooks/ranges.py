"""Which addresses are on the public internet. Pure.

Everything else may reach what only rdev's own machine or network can: no webhook goes there. The
lists follow IANA's special-purpose registries; Python's `is_global` is not used, since what it
says changes between patch releases.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Network

from rdev.domain.addresses import Address

_IPV4 = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier-grade NAT",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "Azure's platform address",  # public by its number, internal by its use
    "169.254.0.0/16": "link-local, where clouds keep their metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "IETF protocols",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "AS112",
    "192.52.193.0/24": "AMT",
    "192.88.99.0/24": "6to4 relays",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "AS112",
    "198.18.0.0/15": "benchmarks",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
# Only 2000::/3 has been given out. That leaves out loopback, link-local, unique local, multicast,
# discard, and all that carries an IPv4 address inside: ::/96, ::ffff:0:0/96, NAT64's 64:ff9b::/96
# and 64:ff9b:1::/48. What is special within 2000::/3:
_GIVEN_OUT = IPv6Network("2000::/3")
_IPV6 = {
    "2001::/23": "IETF protocols, Teredo among them",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "2620:4f:8000::/48": "AS112",
    "3fff::/20": "documentation",
}
_IPV4_RANGES = [(IPv4Network(cidr), use) for cidr, use in _IPV4.items()]
_IPV6_RANGES = [(IPv6Network(cidr), use) for cidr, use in _IPV6.items()]


def special_use(address: Address) -> str | None:
    """What an address is set aside for; None where it is a public one."""
    if isinstance(address, IPv4Address):
        return next((use for network, use in _IPV4_RANGES if address in network), None)
    if address not in _GIVEN_OUT:
        return "not a public IPv6 address"
    return next((use for network, use in _IPV6_RANGES if address in network), None)
