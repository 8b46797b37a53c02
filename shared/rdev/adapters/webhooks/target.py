"""A webhook's URL, taken apart strictly: what is ambiguous is refused, not interpreted. Pure.

Two parsers that disagree about a URL are how guards are passed. So there is one, its result is
all that is used afterwards, and it knows nothing of what libraries forgive: no blanks, no
backslashes, no user name, no number but a plain IPv4 address as a host.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from rdev.domain.addresses import Address

MAX_LENGTH = 2048
_SHAPE = re.compile(r"(?i:(https?))://([^/?#]*)([^#]*)(#.*)?")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as WHATWG's URL standard tells numbers from names
_MAX_NAME = 253
_MAX_PORT = 65535

# Ports that never take webhooks, and whose protocols can be spoken to by a cunning request: the
# "bad ports" of the Fetch standard, and three that it lacks: Docker, Redis, memcached. Any other
# may be meant: those who send webhooks for a living (Stripe, Svix, GitHub) restrict none.
# fmt: off
_CLOSED_PORTS = frozenset((
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 2375, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665,
    6666, 6667, 6668, 6669, 6679, 6697, 10080, 11211,
))
# fmt: on


class NotAllowed(Exception):
    """No webhook goes to this URL; the message says why, and never quotes it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads. `host` is what certificates and the Host header name; `lookup` is what
    the resolver is asked; `literal` the address, where the URL has one instead of a name."""

    scheme: str
    host: str
    port: int
    path: str
    lookup: str
    literal: Address | None

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if isinstance(self.literal, IPv6Address) else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


_DEFAULT_PORTS = {"https": 443, "http": 80}


def parse(url: str) -> Target:
    """Raises NotAllowed for anything but a plain http or https URL to one host."""
    if len(url) > MAX_LENGTH:
        raise NotAllowed(f"The URL is longer than {MAX_LENGTH} characters.")
    found = _SHAPE.fullmatch(url)
    if not found:
        raise NotAllowed("The URL must begin with https:// and name a host.")
    scheme, authority, path, fragment = found.groups()
    if fragment is not None:
        raise NotAllowed("The URL has a fragment (#…), which is never sent. Leave it out.")
    if "@" in authority:
        raise NotAllowed(
            "The URL has a user name or password. Put credentials into the endpoint's headers."
        )
    if not _is_plain(path):
        raise NotAllowed("The URL's path has characters that must be percent-encoded.")
    parts = _AUTHORITY.fullmatch(authority)
    if not parts:
        raise NotAllowed("The URL's host and port make no sense.")
    scheme = scheme.lower()
    port = int(parts[2]) if parts[2] else _DEFAULT_PORTS[scheme]
    if port in _CLOSED_PORTS or port > _MAX_PORT:
        raise NotAllowed(f"Port {port} is closed to webhooks: it belongs to another protocol.")
    path = path if path.startswith("/") else f"/{path}"
    host, lookup, literal = _host(parts[1])
    return Target(scheme, host, port, path, lookup, literal)


_Host = tuple[str, str, Address | None]


def _host(text: str) -> _Host:
    if text.startswith("["):
        return _ipv6(text[1:-1])
    lookup = _ascii(text).lower()
    host = lookup.removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(lookup)
    if len(host) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise NotAllowed("The URL's host is no name that can be looked up.")
    return host, lookup, None


def _ipv4(text: str) -> _Host:
    # What C's inet_aton makes of 2130706433, 0177.0.0.1, 0x7f.1 or 127.1 is refused as such.
    try:
        literal = IPv4Address(text)
    except AddressValueError:
        raise NotAllowed(
            "The URL's host is a number, but no IPv4 address such as 93.184.216.34."
        ) from None
    return text, text, literal


def _ipv6(text: str) -> _Host:
    try:
        literal = IPv6Address(text)
    except AddressValueError:
        raise NotAllowed("The URL's host is no IPv6 address.") from None
    if literal.scope_id is not None:
        raise NotAllowed("The URL's IPv6 address has a zone, which means only this machine.")
    return str(literal), str(literal), literal


def _ascii(host: str) -> str:
    if host.isascii():
        return host
    try:
        name = host.encode("idna")
        # What the two standards of 2003 and 2008 understand differently (a sharp s, joiners) and
        # what only looks like something else (full-width digits) does not come back as it was.
        if name.decode("idna") == host.lower():
            return name.decode()
    except UnicodeError:
        pass
    raise NotAllowed("Write the URL's host in ASCII, as a name of the form xn--….")


def _is_plain(path: str) -> bool:
    return path.isascii() and path.isprintable() and not set(path) & set(' "<>\\')
