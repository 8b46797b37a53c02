"""Where a request comes from: by trusted proxies, from the right, and by nothing else."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.domain.addresses import (
    client_address,
    neighbourhood,
    parse_address,
    parse_networks,
    subset,
    within,
)

PROXIES = parse_networks(["10.0.0.0/8", "fd00::/8"])
CLIENT = ip_address("203.0.113.5")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.5", None, "203.0.113.5"),
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),  # it is no proxy: what it says is nothing
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.5, 10.2.2.2", "203.0.113.5"),
        ("10.0.0.1", "203.0.113.5:4711", "203.0.113.5"),
        ("fd00::1", "[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "10.3.3.3", "10.3.3.3"),  # proxies all the way
        ("10.0.0.1", "203.0.113.5, unknown", None),
        ("10.0.0.1", "203.0.113.5,", None),
        ("10.0.0.1", "not an address", None),
        ("", "203.0.113.5", None),  # a Unix socket
        (None, None, None),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_trusted_proxy(
    peer: str | None, forwarded: str | None, address: str | None
) -> None:
    found = client_address(peer, forwarded, PROXIES)
    assert found == (ip_address(address) if address else None)


@given(st.text(alphabet="0123456789abcdef.:[], %unko\tx", max_size=200))
def test_whatever_a_client_writes_itself_never_names_it_otherwise(forged: str) -> None:
    """A proxy appends its peer: that is what counts, whatever stands left of it."""
    assert client_address("203.0.113.5", forged, PROXIES) == CLIENT
    assert client_address("10.0.0.1", f"{forged},203.0.113.5", PROXIES) == CLIENT


@given(st.text(max_size=100))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or parse_address(str(address)) == address


def test_a_hundred_thousand_hops_cost_no_more_than_a_few() -> None:
    assert client_address("10.0.0.1", ",".join(["10.0.0.1"] * 100_000), PROXIES) is not None


@pytest.mark.parametrize("text", ["10.0.0.1/8", "", "::ffff:10.0.0.0/104", "example.org", "1.2.3"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write IPv4|neither"):
        parse_networks([text])


def test_an_ipv4_address_is_within_no_ipv6_network() -> None:
    assert not within(CLIENT, parse_networks(["::/0"]))
    assert within(CLIENT, parse_networks(["0.0.0.0/0"]))
    assert not subset(parse_networks(["10.0.0.0/8"]), parse_networks(["::/0"]))


def test_ipv6_neighbours_count_as_one() -> None:
    one, two = ip_address("2001:db8::1"), ip_address("2001:db8::2:3")
    assert neighbourhood(one) == neighbourhood(two)
    assert neighbourhood(CLIENT) == "203.0.113.5"
    assert neighbourhood(None) == ""
