"""The shape of a key's secret, and what a key allows."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.domain.keys import Key, hash_secret, hint_of, new_secret, well_formed

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
    assert hash_secret("s", "a" * 32) != hash_secret("s", "b" * 32)


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


def test_a_key_grants_only_what_it_holds() -> None:
    maker = key(scopes=("keys:admin", "projects:read"), projects=("web",))
    assert maker.may_grant(("projects:read",), ("web",))
    assert not maker.may_grant(("admin",), ("web",))
    assert not maker.may_grant(("projects:write",), ("web",))
    assert not maker.may_grant(("projects:read",), ("*",))
    assert not maker.may_grant(("projects:read",), ("web", "api"))
    assert key(scopes=("admin",)).may_grant(("keys:admin", "admin"), ("*",))
