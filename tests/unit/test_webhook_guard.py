"""Where webhooks may go, however it is spelled."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rdev.adapters.webhooks.guard import Blocked, Guard
from rdev.adapters.webhooks.names import Unresolved
from rdev.adapters.webhooks.ranges import special_use
from rdev.adapters.webhooks.target import NotAllowed, parse
from rdev.domain.addresses import Address

SPECIAL = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("168.63.129.16/32", "::/128", "::1/128", "::/96", "::ffff:0:0/96", "fe80::/10"),
    *("fec0::/10", "fc00::/7", "ff00::/8", "2001:db8::/32", "100::/64", "2002::/16", "3fff::/20"),
    *("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2001:10::/28", "2001:2::/48", "5f00::/16"),
]
METADATA = ["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192"]
METADATA += ["fd00:ec2::254", "fd20:ce::254", "169.254.170.2", "169.254.170.23"]
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "172.32.0.1", "192.0.1.1"]
PUBLIC += ["198.20.0.1", "223.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.1"]
PUBLIC += ["2606:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2400::1"]

special_addresses = st.sampled_from([ip_network(cidr) for cidr in SPECIAL]).flatmap(
    lambda network: st.integers(0, network.num_addresses - 1).map(lambda index: network[index])
)
special_ipv4 = special_addresses.filter(lambda address: address.version == 4)


def resolving_to(*addresses: str) -> Guard:
    return Guard(resolve=lambda _name: addresses)


def reaches(guard: Guard, url: str) -> bool:
    """Whether a webhook would be sent there."""
    try:
        guard.pinned(guard.target(url), 5.0)
    except (NotAllowed, Blocked, Unresolved):
        return False
    return True


@given(special_addresses)
def test_no_special_address_is_public(address: Address):
    assert special_use(address)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_public(text: str):
    assert special_use(ip_address(text)) is None
    assert reaches(resolving_to(text), "https://receiver.example/")


@pytest.mark.parametrize("text", METADATA)
def test_metadata_of_clouds_is_out_of_reach(text: str):
    assert not reaches(resolving_to(text), "https://receiver.example/")


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2000::/3"))
def test_what_python_knows_to_be_special_is_not_public(address: Address):
    assert address.is_global or special_use(address)


def spelled(address: IPv4Address, cut: int, bases: list[str], zeros: int, dot: str) -> str:
    """As inet_aton takes it: one to four numbers, each decimal, octal or hexadecimal."""
    octets = list(address.packed)
    numbers = [*octets[: cut - 1], int.from_bytes(bytes(octets[cut - 1 :]), "big")]
    formats = {"d": "{}", "o": "0" + "0" * zeros + "{:o}", "x": "0x" + "0" * zeros + "{:x}"}
    formats["X"] = "0X" + "0" * zeros + "{:X}"
    return ".".join(formats[b].format(n) for b, n in zip(bases, numbers, strict=False)) + dot


spellings = st.builds(
    spelled,
    special_ipv4,
    st.integers(1, 4),
    st.lists(st.sampled_from("doxX"), min_size=4, max_size=4),
    st.integers(0, 3),
    st.sampled_from(["", "."]),
)


@given(spellings)
@example("2130706433")
@example("0177.0.0.1")
@example("0x7f.1")
@example("127.1")
@example("0")
@example("127.0.0.1.")
def test_no_spelling_of_a_special_ipv4_address_is_reached(text: str):
    def as_c_does(name: str) -> list[str]:
        return [socket.inet_ntoa(socket.inet_aton(name.rstrip(".")))]

    guard = Guard(resolve=as_c_does)
    assert guard.refusal(f"https://{text}/")
    assert not reaches(guard, f"https://{text}:8443/hook")


@given(special_ipv4, st.sampled_from(".\u3002\uff0e\uff61"))
def test_full_width_digits_and_dots_are_numbers_too(address: IPv4Address, dot: str):
    wide = str(address).translate({ord("0") + n: 0xFF10 + n for n in range(10)})
    assert not reaches(resolving_to(str(address)), f"https://{wide.replace('.', dot)}/")


@given(special_addresses)
def test_a_special_address_in_the_url_is_refused_when_the_endpoint_is_made(address: Address):
    host = f"[{address}]" if address.version == 6 else str(address)
    assert Guard().refusal(f"https://{host}/hook")
    assert Guard().refusal(f"https://{host.upper()}:8443")


@given(st.ip_addresses(v=4))
def test_no_ipv6_address_that_carries_an_ipv4_address_is_reached(inner: IPv4Address):
    number, name = int(inner), "https://receiver.example/"
    carriers = [number, (0xFFFF << 32) | number, (0x0064FF9B << 96) | number]
    carriers += [(0x2002 << 112) | (number << 80), (0x20010000 << 96) | (number ^ 0xFFFFFFFF)]
    for carrier in carriers:
        address = str(IPv6Address(carrier))
        assert not reaches(resolving_to(address), name)
        assert Guard().refusal(f"https://[{address}]/")
    assert Guard().refusal(f"https://[::ffff:{inner}]/")


@given(special_addresses, st.lists(st.sampled_from(PUBLIC), max_size=5), st.randoms())
def test_one_special_address_among_public_ones_refuses_the_name(bad, good, random):
    addresses = [str(bad), *good]
    random.shuffle(addresses)
    guard = resolving_to(*addresses)
    assert guard.refusal("https://receiver.example/") is None
    assert not reaches(guard, "https://receiver.example/")


@given(st.text(max_size=30))
@example("127.0.0.1")
@example("[::1]")
@example("user@1.1.1.1")
@example("1.1.1.1@127.0.0.1")
@example("127.0.0.1\\@1.1.1.1")
@example("127.0.0.1%00.example.com")
@example("[::1%25eth0]")
@example("1.1.1.1 127.0.0.1")
@example("1.1.1.1&@127.0.0.1#")
def test_whatever_the_host_what_is_looked_up_is_a_name_or_a_public_address(host: str):
    looked_up: list[str] = []

    def resolve(name: str) -> list[str]:
        looked_up.append(name)
        return ["1.1.1.1"]

    guard = Guard(resolve=resolve)
    if reaches(guard, f"https://{host}/"):
        target = guard.target(f"https://{host}/")
        for name in looked_up:
            assert name.isascii()
            with pytest.raises(OSError):  # noqa: PT011 - no spelling of a number
                socket.inet_aton(name)
        assert bool(looked_up) != bool(target.literal)
        assert target.literal is None or special_use(target.literal) is None
        assert not set(target.host_header) & set("\r\n @/\\")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "receiver.example",
        "//receiver.example/",
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "http+unix://%2Frun%2Fdocker.sock/",
        "unix:/run/docker.sock",
        "https:receiver.example",
        "https:///hook",
        "https://",
        "https://:443/",
        "https://user@receiver.example/",
        "https://user:secret@receiver.example/",
        "https://@receiver.example/",
        "https://receiver.example/#here",
        "https://receiver.example#@127.0.0.1/",
        "https://receiver.example\\@127.0.0.1/",
        "https://receiver.example/a b",
        "https://receiver.example/a\r\nX: 1",
        "https://receiver.example/ä",
        " https://receiver.example/",
        "https://receiver.example/\n",
        "https://receiver..example/",
        "https://.example/",
        "https://receiver.example../",
        "https://-receiver.example/",
        "https://rec%65iver.example/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[v1.x]/",
        "https://::1/",
        "https://stra\u00dfe.example/",
        "https://re\u200dceiver.example/",
        "https://\uff52eceiver.example/",
        "https://receiver.example:99999/",
        "https://receiver.example:\uff14\uff14\uff13/",
        "https://receiver.example:-1/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 127 + "example/",
        "https://receiver.example/" + "a" * 2048,
        "http://receiver.example/",
    ],
)
def test_a_url_that_is_not_plain_is_refused(url: str):
    guard = resolving_to("1.1.1.1")
    problem = guard.refusal(url)
    assert problem
    assert "secret" not in problem
    assert not reaches(guard, url)


def test_credentials_in_a_url_are_named_as_what_is_wrong_and_not_repeated():
    problem = Guard().refusal("https://user:secret@receiver.example/")
    assert problem
    assert "headers" in problem
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://receiver.example", "receiver.example", 443, "/"),
        ("HTTPS://Receiver.Example./a?b=c@d", "receiver.example", 443, "/a?b=c@d"),
        ("https://receiver.example?b", "receiver.example", 443, "/?b"),
        ("https://receiver.example:/", "receiver.example", 443, "/"),
        ("https://receiver.example:8443/", "receiver.example:8443", 8443, "/"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://a_b.example/", "a_b.example", 443, "/"),
        ("https://1.1.1.1:9443/x", "1.1.1.1:9443", 9443, "/x"),
        ("https://[2606:4700:0::1111]/", "[2606:4700::1111]", 443, "/"),
        ("https://123.example/", "123.example", 443, "/"),
        ("https://receiver/", "receiver", 443, "/"),
    ],
)
def test_a_plain_url_is_taken_as_it_is(url: str, host: str, port: int, path: str):
    guard = resolving_to("1.1.1.1")
    target = guard.target(url)
    assert guard.refusal(url) is None
    assert reaches(guard, url)
    assert (target.host_header, target.port, target.path) == (host, port, path)


@pytest.mark.parametrize("port", [0, 22, 25, 53, 110, 2049, 2375, 6000, 6379, 6667, 11211])
def test_ports_of_other_protocols_are_closed(port: int):
    assert Guard().refusal(f"https://receiver.example:{port}/")


@pytest.mark.parametrize("port", [80, 443, 3000, 5000, 8000, 8080, 8443, 9443, 49152, 65535])
def test_other_ports_are_open(port: int):
    assert Guard().refusal(f"https://receiver.example:{port}/") is None


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "localhost.localdomain"]
)
def test_this_machine_is_refused_by_name_unless_it_is_allowed(host: str):
    assert Guard().refusal(f"https://{host}/")
    assert Guard(["127.0.0.0/8"]).refusal(f"https://{host}/") is None
    assert Guard(["::1"]).refusal(f"https://{host}/") is None


def test_what_an_operator_allows_is_allowed_and_nothing_beside_it():
    guard = Guard(["10.1.0.0/16", "fd00::/8"], allow_http=True)
    for host in ("10.1.2.3", "[fd00::1]"):
        assert guard.refusal(f"http://{host}/") is None
        assert reaches(guard, f"http://{host}/")
    for host in ("10.2.0.1", "127.0.0.1", "[fe80::1]", "[::ffff:10.1.2.3]", "[64:ff9b::10.1.2.3]"):
        assert guard.refusal(f"http://{host}/")


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "localhost", "10.1.2.3/8", ""])
def test_an_allow_list_that_is_none_is_refused_at_once(wrong: str):
    with pytest.raises(ValueError, match=r"neither an address nor a CIDR"):
        Guard([wrong])


@pytest.mark.parametrize("answer", ["fe80::1%eth0", "::1", "fe80::1"])
def test_an_answer_with_a_zone_is_no_public_address(answer: str):
    assert not reaches(resolving_to(answer), "https://receiver.example/")
    guard = Guard(["fe80::/10", "::1"], resolve=lambda _name: [answer])
    assert reaches(guard, "https://receiver.example/") == ("%" not in answer)


def test_a_name_without_an_address_is_unresolved():
    guard = resolving_to()
    with pytest.raises(Unresolved):
        guard.pinned(guard.target("https://receiver.example/"), 5.0)


def test_a_name_with_a_dot_at_its_end_is_looked_up_with_it():
    """So that a resolver's search list does not come into it."""
    assert parse("https://receiver.example./").lookup == "receiver.example."


def test_the_system_resolver_makes_nothing_private_reachable():
    guard = Guard(keep_names_s=0)
    for host in ("localhost", "localhost.", socket.gethostname().lower()):
        assert not reaches(guard, f"https://{host}/")
