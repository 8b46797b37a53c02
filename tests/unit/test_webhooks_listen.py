"""`rdev webhooks listen` as a process of its own."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

DEADLINE_S = 60
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
COMMAND = "import typer; from rdev.cli.webhooks_listen import listen; typer.run(listen)"
BODY = b'{"type":"test","timestamp":"2026-11-24T04:00:00.000Z","data":{"text":"It works."}}'


class Listening:
    """A started `listen`, and whoever sends to it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stderr
        self.greeting = process.stderr.readline()
        found = re.search(r"http://(\S+):(\d+)/", self.greeting)
        assert found, self.greeting
        self.connection = http.client.HTTPConnection(
            found[1].strip("[]"), int(found[2]), timeout=DEADLINE_S
        )

    def post(self, body: bytes = BODY, secret: str = SECRET, **headers: str) -> int:
        now = datetime.now(UTC)
        signed = {
            "webhook-id": "evt-1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("evt-1", now, body.decode("latin-1")),
        }
        self.connection.request("POST", "/any", body, signed | headers)
        with self.connection.getresponse() as response:
            response.read()
            return response.status

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@contextmanager
def listening(*words: str, secret: str | None = SECRET) -> Iterator[Listening]:
    env = {"PATH": os.environ["PATH"]} | ({"RDEV_WEBHOOK_SECRET": secret} if secret else {})
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--port", "0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        try:
            one = Listening(process)
            yield one
            one.connection.close()
        finally:
            process.kill()


def test_an_event_that_is_signed_is_printed_and_accepted():
    with listening() as here:
        assert [here.post(), here.post()] == [204, 204]
        line = here.line()
        assert line == here.line()
    assert line == '2026-11-24T04:00:00.000Z  evt-1  verified  test  {"text": "It works."}\n'


def test_an_event_that_is_not_signed_right_is_shown_as_such_and_refused():
    with listening() as here:
        assert here.post(secret=OTHER) == 401
        assert "NOT VERIFIED (No matching signature found)" in here.line()
        assert here.post(**{"webhook-signature": "nonsense"}) == 401
        assert "NOT VERIFIED" in here.line()
        assert here.post(**{"webhook-timestamp": "1"}) == 401
        assert "NOT VERIFIED (Message timestamp too old)" in here.line()
        assert here.post() == 204


def test_secrets_of_a_file_may_overlap(tmp_path: Path):
    (tmp_path / "secrets").write_text(f"{OTHER}\n{SECRET}\n")
    with listening("--secret-file", str(tmp_path / "secrets"), secret=None) as here:
        assert [here.post(secret=SECRET), here.post(secret=OTHER)] == [204, 204]


def test_without_a_secret_nothing_is_verified_and_that_is_said():
    with listening(secret=None) as here:
        assert "verifying nothing" in here.greeting
        assert here.post() == 204
        assert "not checked" in here.line()


def test_json_is_one_line_an_event():
    with listening("--json") as here:
        here.post()
        here.post(secret=OTHER)
        assert json.loads(here.line()) == {
            "id": "evt-1",
            "verified": True,
            "problem": None,
            "event": json.loads(BODY),
        }
        assert json.loads(here.line())["verified"] is False


@pytest.mark.parametrize("body", [b"[1]", b"no json", b"\xff\xfe", b"", b'{"type": "\x1b[2J"}'])
def test_whatever_comes_is_one_printable_line(body: bytes):
    with listening(secret=None) as here:
        assert here.post(body) == 204
        line = here.line()
    assert line.rstrip("\n").isprintable()


def test_a_body_that_is_too_large_is_refused():
    with listening() as here:
        assert here.post(**{"content-length": "99999999999"}) == 413


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it(number: signal.Signals):
    with listening() as here:
        here.post()  # over a connection that stays open
        here.process.send_signal(number)
        assert here.process.wait(DEADLINE_S) == 0


def test_a_reader_that_is_gone_ends_it():
    with listening() as here:
        assert here.process.stdout
        here.process.stdout.close()
        with suppress(ConnectionError):  # it may be gone before it has answered
            here.post()
        assert here.process.wait(DEADLINE_S) == -signal.SIGPIPE


@pytest.mark.parametrize(
    ("words", "secret", "says"),
    [
        (("--secret-file", "/nowhere"), None, "the secret file /nowhere cannot be read"),
        ((), "whsec_!", "whsec_"),
        (("--host", "192.0.2.1"), None, "Choose another"),
    ],
)
def test_what_cannot_work_is_said_in_a_line(words: tuple[str, ...], secret: str, says: str):
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "--port", "0", *words],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]} | ({"RDEV_WEBHOOK_SECRET": secret} if secret else {}),
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_secret_is_taken_from_the_command_line():
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "--secret", SECRET],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 2
