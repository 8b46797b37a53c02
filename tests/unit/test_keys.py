"""The shape of a key's secret, and what a key allows."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.domain.addresses import parse_networks
from rdev.domain.key_secrets import Peppers, hint_of, new_secret, well_formed
from rdev.domain.keys import Key, Limits

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def key(**more: object) -> Key:
    return Key(**{"id": "key-1", "name": "n", "hint": "", "scopes": (), "created_at": NOW, **more})


def test_a_new_secret_is_well_formed_and_unlike_the_last() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert well_formed(first)
    assert first.startswith("rdev_")
    assert len(first) == 43


@given(st.integers(5, 42), st.sampled_from("0123456789ABCabc_-é\0"))
def test_one_wrong_character_is_noticed_without_a_look_up(place: int, other: str) -> None:
    secret = new_secret()
    wrong = secret[:place] + other + secret[place + 1 :]
    assert well_formed(wrong) == (wrong == secret)


@given(st.text())
def test_any_other_text_is_no_secret(text: str) -> None:
    assert not well_formed(text)


def test_the_hash_depends_on_the_pepper() -> None:
    one, other = Peppers.parse("a" * 32), Peppers.parse("b" * 32)
    assert one.hash("s").value != other.hash("s").value


def test_a_replaced_pepper_still_recognises_and_the_new_one_hashes() -> None:
    old, new = Peppers.parse("a" * 32), Peppers.parse(f"2:{'b' * 32}\n1:{'a' * 32}\n")
    assert new.hash("s").pepper_version == 2
    assert old.hash("s") in new.candidates("s")
    assert new.candidates("s")[0] == new.hash("s")


@pytest.mark.parametrize(
    "text",
    ["", "\n", "short", "0:" + "a" * 32, "2:" + "a" * 32 + "\n2:" + "b" * 32, "40000:" + "a" * 32],
)
def test_peppers_that_are_none_are_refused_without_being_told(text: str) -> None:
    with pytest.raises(ValueError, match="pepper") as caught:
        Peppers.parse(text)
    assert "aaaa" not in str(caught.value)


def test_a_hint_gives_nothing_away() -> None:
    secret = new_secret()
    assert len(hint_of(secret)) == 10
    assert secret[9:] not in hint_of(secret)


def test_a_key_is_not_usable_once_revoked_or_expired() -> None:
    later = NOW + timedelta(seconds=1)
    assert key().usable(NOW)
    assert key(expires_at=later).usable(NOW)
    assert not key(expires_at=NOW).usable(NOW)
    assert not key(revoked_at=NOW).usable(NOW)


def test_admin_implies_every_scope_and_others_only_themselves() -> None:
    assert key(scopes=("admin",)).allows("audit:read")
    assert not key(scopes=("projects:read",)).allows("projects:write")


@pytest.mark.parametrize(
    ("globs", "project", "seen"),
    [
        (("*",), "anything", True),
        (("web-*",), "web-1", True),
        (("web-*",), "api", False),
        (("api", "web"), "web", True),
        ((), "web", False),
    ],
)
def test_projects_are_names_or_globs(globs: tuple[str, ...], project: str, seen: bool) -> None:
    assert key(projects=globs).sees(project) is seen


MAKER = {"scopes": ("keys:admin", "projects:read"), "projects": ("web",)}
BOUND = {"allowed_ips": parse_networks(["10.0.0.0/8", "2001:db8::/32"])}


@pytest.mark.parametrize(
    ("held", "wanted", "field"),
    [
        ({}, {}, None),
        ({}, {"scopes": ("admin",)}, "scopes"),
        ({}, {"scopes": ("projects:write",)}, "scopes"),
        ({}, {"projects": ("*",)}, "projects"),
        ({}, {"projects": ("web", "api")}, "projects"),
        ({}, {"rate_limit": 11}, "rate_limit"),
        ({}, {"rate_limit": 10}, None),
        ({"rate_limit": 5}, {}, "rate_limit"),
        ({}, {"max_concurrent": 6}, "max_concurrent"),
        ({"max_concurrent": 9}, {"max_concurrent": 6}, None),
        (BOUND, {}, "allowed_ips"),
        (BOUND, {"allowed_ips": parse_networks(["10.1.0.0/16"])}, None),
        (BOUND, {"allowed_ips": parse_networks(["10.0.0.1", "2001:db8:1::/48"])}, None),
        (BOUND, {"allowed_ips": parse_networks(["10.0.0.1", "192.0.2.1"])}, "allowed_ips"),
        (BOUND, {"allowed_ips": parse_networks(["::/0"])}, "allowed_ips"),
        ({"expires_at": NOW}, {}, "expires_at"),
        ({"expires_at": NOW}, {"expires_at": NOW}, None),
        ({"expires_at": NOW}, {"expires_at": NOW + timedelta(seconds=1)}, "expires_at"),
    ],
)
def test_a_key_grants_only_what_it_holds(held: dict, wanted: dict, field: str | None) -> None:
    maker, other = key(**{**MAKER, **held}), key(**{**MAKER, "scopes": (), **wanted})
    assert maker.surplus(other, Limits()) == field


def test_admin_holds_every_limit_but_not_every_place_and_time() -> None:
    admin = key(scopes=("admin",), **BOUND)
    assert admin.surplus(key(scopes=("admin",), rate_limit=10**5, **BOUND), Limits()) is None
    assert admin.surplus(key(scopes=("admin",)), Limits()) == "allowed_ips"
