"""Decides where webhooks may go: never to what only this machine or its network can reach.

A name is resolved once, every answer is judged, and the connection goes to an address that was
judged (`pinned`): what the name says a moment later no longer matters. An answer that is kept for
some seconds was judged as well, and is judged again at each use.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from rdev.adapters.webhooks.names import Names, Resolve, Unresolved, system_resolve
from rdev.adapters.webhooks.ranges import special_use
from rdev.adapters.webhooks.target import NotAllowed, Target, parse
from rdev.domain.addresses import Address, parse_networks, within


class Blocked(Exception):
    """The name leads to where no webhook goes. Does not say which address it was."""


class Guard:
    """`allow`: CIDRs that an operator opens although they are not public; what they open is open,
    a cloud's metadata included. Raises ValueError for what is no CIDR."""

    def __init__(
        self,
        allow: Sequence[str] = (),
        *,
        allow_http: bool = False,
        resolve: Resolve = system_resolve,
        keep_names_s: float = 5.0,
    ) -> None:
        self._allow = parse_networks(allow)
        self._allow_http = allow_http
        self._names = Names(resolve, keep_names_s)
        # What a URL means and what an address is for never changes: both are asked a request.
        self._parsed = lru_cache(1024)(parse)
        self._judged = lru_cache(4096)(self._judge)

    def refusal(self, url: str) -> str | None:
        """Why no endpoint may have this URL, as far as that can be told without looking its name
        up; None where nothing speaks against it."""
        try:
            target = self.target(url)
            if target.literal:
                self._judge(target.literal)
            elif _is_this_machine(target.host) and not self._allows_loopback():
                raise Blocked("The URL's host is this machine itself, where no webhook goes.")
        except (NotAllowed, Blocked) as exc:
            return str(exc)
        return None

    def target(self, url: str) -> Target:
        """Raises NotAllowed."""
        target = self._parsed(url)
        if target.scheme == "http" and not self._allow_http:
            raise NotAllowed("The URL must begin with https://: plain http is not allowed here.")
        return target

    def pinned(self, target: Target, within_s: float) -> Sequence[Address]:
        """The addresses to connect to, the best first. One bad address among them refuses all.
        Raises Blocked or names.Unresolved."""
        if target.literal:
            return (self._judged(target.literal),)
        found = [self._judged(text) for text in self._names.addresses(target.lookup, within_s)]
        if not found:
            raise Unresolved("The host's name has no address.")
        return found

    def _judge(self, text: str | Address) -> Address:
        address = ip_address(text)
        if getattr(address, "scope_id", None) is None and within(address, self._allow):
            return address
        use = special_use(address)
        if use:
            raise Blocked(f"The URL's host has an address that no webhook goes to: {use}.")
        return address

    def _allows_loopback(self) -> bool:
        return any(within(ip_address(text), self._allow) for text in ("127.0.0.1", "::1"))


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "localhost.localdomain") or host.endswith(".localhost")
