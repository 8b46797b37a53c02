"""The address of a request as the functions see it: whom they trust, and what they remember."""

from collections.abc import Iterator
from ipaddress import ip_address

import flask
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdev import config
from rdev.domain.addresses import Address
from rdev.http import auth

CLIENT = ip_address("203.0.113.5")
PROXY, OTHER = "10.0.0.1", "192.0.2.9"
APP = flask.Flask(__name__)


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    yield
    forget()


@pytest.fixture
def _trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDEV_TRUSTED_PROXIES", "10.0.0.0/8")
    forget()


def forget() -> None:
    for remembered in (config.settings, auth._trusted_proxies, auth._client_address):
        remembered.cache_clear()


def seen(peer: str, *forwarded: str) -> Address | None:
    headers = [("X-Forwarded-For", line) for line in forwarded]
    with APP.test_request_context(environ_base={"REMOTE_ADDR": peer}, headers=headers):
        assert auth.address() == auth.address()
        return auth.address()


def test_by_default_nobody_is_believed() -> None:
    forget()
    for peer in (PROXY, "127.0.0.1", "::1"):
        assert seen(peer, "203.0.113.5") == ip_address(peer)


@pytest.mark.usefixtures("_trusting")
def test_no_other_header_says_where_a_request_comes_from() -> None:
    for name in ("X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP", "X_Forwarded_For"):
        with APP.test_request_context(
            environ_base={"REMOTE_ADDR": PROXY}, headers={name: "for=203.0.113.5"}
        ):
            assert auth.address() in (ip_address(PROXY), None)


@pytest.mark.usefixtures("_trusting")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=300), max_size=3),
    st.sampled_from([PROXY, OTHER]),
)
def test_whatever_a_client_sends_first_its_address_is_what_the_proxy_adds(
    forged: list[str], peer: str
) -> None:
    found = seen(peer, *forged, "203.0.113.5")
    assert found == (CLIENT if peer == PROXY else ip_address(OTHER))


@pytest.mark.usefixtures("_trusting")
def test_what_is_remembered_of_one_peer_is_told_of_no_other() -> None:
    assert seen(PROXY, "203.0.113.5") == CLIENT
    assert seen(OTHER, "203.0.113.5") == ip_address(OTHER)
    assert seen(PROXY, "203.0.113.5") == CLIENT
    assert auth._client_address.cache_info().hits > 0


@pytest.mark.usefixtures("_trusting")
def test_what_is_remembered_is_bounded_in_number_and_in_length() -> None:
    for number in range(2000):
        assert seen(PROXY, f"{number}, 203.0.113.5") == CLIENT
    assert auth._client_address.cache_info().currsize <= 1024
    forget()
    assert seen(PROXY, "x" * 5000, "203.0.113.5") == CLIENT
    assert auth._client_address.cache_info().currsize == 0
