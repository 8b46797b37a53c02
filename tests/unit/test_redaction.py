"""Redaction: what looks like a secret is masked, the rest stays, and no text makes it slow."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.domain.key_secrets import new_secret
from rdev.domain.redaction import MASK, redact, redact_value

SECRET = "Zq8xR3vN1kLw7tYb5mCd2fGh"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----"
SHOWN = [
    "rdev_" + "aB3" * 12,
    f"whsec_{SECRET}",
    "AKIAABCDEFGHIJKLMNOP",
    f"ghp_{SECRET}",
    f"github_pat_{SECRET}",
    f"glpat-{SECRET}",
    f"sk-ant-{SECRET}",
    f"xoxb-{SECRET}",
    f"eyJhbGciOiJIUzI1NiJ9.{SECRET}.{SECRET}",
]
NAMED = [
    f'curl -H "X-API-Key: {SECRET}" host',
    f"curl -H 'Authorization: Bearer {SECRET}' host",
    f"curl -H 'Authorization: Basic {SECRET}' host",
    f"Authorization: Digest username=me, response={SECRET}",
    f"Cookie: sid={SECRET}; theme=dark",
    f"PASSWORD={SECRET} run",
    f'PASSWORD="correct horse {SECRET}" run',
    f"PASSWORD='correct horse {SECRET}' run",
    f"export AWS_SECRET_ACCESS_KEY={SECRET}",
    f"mysql --password {SECRET} -u me",
    f"deploy --api-token '{SECRET}'",
    f'{{"client_secret": "{SECRET}", "n": 3}}',
    f'{{\\"token\\": \\"{SECRET}\\"}}',
    f"git clone https://me:{SECRET}@example.com/x",
    f"git clone https://{SECRET}@example.com/x",
    f"GET /projects/demo/events?ticket={SECRET}&after=0",
    f"echo {PEM}",
]
HARMLESS = [
    "ls -la /srv/secrets.d",
    "pytest -k 'token or password'",
    "make tokens && ./run --max-tokens 100",
    "git clone https://example.com/x.git",
    "sha256sum 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "command cmd-019abf00000000000000000000000000 of key-019abf00000000000000000000000000",
]


@pytest.mark.parametrize("text", NAMED)
def test_a_secret_is_masked_by_what_stands_before_it(text: str) -> None:
    assert SECRET not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize("text", [*NAMED, *SHOWN, *HARMLESS, f"Authorization: {MASK}"])
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    """As the audit log does with a command's text."""
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize("secret", SHOWN)
def test_a_secret_is_masked_by_its_shape(secret: str) -> None:
    assert redact(f"say {secret} now") == f"say {MASK} now"


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_key_is_masked_wherever_it_stands(before: str, after: str) -> None:
    secret = new_secret()
    assert secret not in redact(f"{before}{secret}{after}")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text).replace(f"--max-tokens {MASK}", "--max-tokens 100") == text


PIECES = [
    "a",
    "-",
    "://",
    "eyJaaaaaaaa.",
    "-eyJaaaaaaaa",
    "-----BEGIN A A A ",
    "-----BEGIN PRIVATE KEY-----",
    "authorization:",
    "bearer ",
    'token="',
    "token='\"",
    "--token",
    "sk-a",
    "password ",
]


@pytest.mark.parametrize("piece", PIECES)
def test_its_time_grows_with_the_text_and_no_faster(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        began = time.process_time()
        redact(text)
        return time.process_time() - began

    # Four times the text: about four times the time. Sixteen would be quadratic; the rest is noise.
    assert seconds(400_000) < 10 * max(seconds(100_000), 0.02)


class Told:
    def __repr__(self) -> str:
        return f"<connection password={SECRET}>"


HIDDEN = [
    {"request": {"headers": [("Authorization", f"Bearer {SECRET}")]}},
    {"env": {"PASSWORD": SECRET}},
    {"deep": [[[[[[[[[[f"token={SECRET}"]]]]]]]]]]},
    [{"args": ["git", "clone", f"https://me:{SECRET}@example.com/x"]}],
    f"Authorization: Bearer {SECRET}".encode(),
    (b"\xff token=" + SECRET.encode(), 1),
    {f"token={SECRET}"},
    {f"token={SECRET}": 1},
    RuntimeError(f"refused: password={SECRET}"),
    ExceptionGroup("two", [ValueError(f"password={SECRET}"), KeyError("x")]),
    Told(),
    {"client_secret": Told()},
]


@pytest.mark.parametrize("value", HIDDEN, ids=lambda value: type(value).__name__)
def test_a_secret_is_masked_wherever_it_is_nested(value: object) -> None:
    assert SECRET not in repr(redact_value(value))


def test_what_contains_itself_ends() -> None:
    ring: dict[str, object] = {"token": SECRET, "text": f"password={SECRET}"}
    ring["ring"] = [ring]
    assert SECRET not in repr(redact_value(ring))


def test_what_is_no_secret_stays_as_it_is() -> None:
    value = {"exit_code": 1, "ok": True, "none": None, "share": 0.5, "args": ["ls", {"n": "x"}]}
    assert redact_value(value) == value
