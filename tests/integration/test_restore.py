"""The restore drill of docs/operations/backup.md, by its own commands: a server is lost, and rdev
goes on from a dump, the archive and the pepper."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import redis

from fresh_database import fresh_database
from functions_alone import FunctionAlone, functions_alone
from http_client import Http, as_it_ended
from live_stack import wait_for
from own_postgres import own_postgres
from rdev.config import SOURCE_ROOT
from rdev.platform.stores import Postgres, Valkey, bundled_postgres

pytestmark = pytest.mark.slow

PAGE = (SOURCE_ROOT / "docs/operations/backup.md").read_text()


def commands_of(chapter: str) -> str:
    """What the chapter has one type."""
    (found,) = re.findall(rf"(?ms)^## {chapter}\n.*?^```sh\n(.*?)^```", PAGE)
    return found


def run(script: str, url: str, folder: Path) -> None:
    """With the tools of the server's version, the database named by the environment."""
    parts = urlsplit(url)
    named = {
        "PGHOST": parse_qs(parts.query)["host"][0],
        "PGUSER": "rdev",
        "PGDATABASE": parts.path.removeprefix("/"),
    }
    done = subprocess.run(
        ["sh", "-euc", script],
        env={"PATH": f"{bundled_postgres() / 'bin'}:{os.environ['PATH']}", **named},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def wake(runner: FunctionAlone) -> None:
    assert runner.http.request("POST", "/", b"").status == 204


def test_what_was_recorded_is_there_after_a_server_was_lost(
    postgres: Postgres, valkey: Valkey, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    with (
        fresh_database(postgres) as url,
        functions_alone(url, valkey.url, tmp_path) as functions,
    ):
        assert functions["projects"].http.post("/projects", {"id": "demo"}).status == 201
        asked = functions["exec"].http
        done = asked.shell("demo", "echo kept; exit 3")["id"]
        wake(functions["runner"])
        record = wait_for(lambda: (got := asked.record("demo", done))["finished_at"] and got)
        waiting = asked.shell("demo", "echo run afterwards")["id"]
        key = functions["keys"].key
        run(commands_of("Backup"), url, backup)
        shutil.copytree(tmp_path / "archive", backup / "archive")
        later = asked.shell("demo", "echo after the backup")["id"]
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    restored = tmp_path / "restored"
    shutil.copytree(backup / "archive", restored / "archive")
    with own_postgres("fsync=off", "shared_buffers=32MB") as server:
        # The server's own maintenance database is named as rdev's is: this one is to be made.
        run(commands_of("Restore"), server.url("restored"), backup)
        with functions_alone(server.url("restored"), valkey.url, restored, key=key) as functions:
            asked = Http(functions["exec"].http.port, key)
            assert as_it_ended(asked.record("demo", done)) == as_it_ended(record)
            assert asked.output("demo", done) == b"kept\n"
            assert asked.get(f"/projects/demo/commands/{later}").status == 404
            (restored / "workspaces" / "demo").mkdir(parents=True)
            wake(functions["runner"])
            ended = wait_for(lambda: (got := asked.record("demo", waiting))["finished_at"] and got)
            assert ended["status"] == "succeeded"
            assert asked.output("demo", waiting) == b"run afterwards\n"
            verified = functions["audit"].http.get("/audit/verify")
            assert (verified.status, verified.data["ok"]) == (200, True)
