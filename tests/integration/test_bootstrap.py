"""`rdev keys bootstrap`: an admin key for who has the database."""

import subprocess
import sys
from pathlib import Path

import pytest

from key_service import PEPPER, authentication
from rdev.adapters.postgres.database import Database
from rdev.services.keys import FIRST_KEY, RECOVERED_KEY

COMMANDS = {
    "rdev": [sys.executable, "-m", "rdev.cli.main", "keys", "bootstrap"],
    "image": [sys.executable, "-m", "rdev.platform.bootstrap"],
}


@pytest.mark.parametrize("how", list(COMMANDS))
def test_it_makes_the_first_key_and_another_only_where_that_is_asked_for(
    database: Database, database_url: str, redis_url: str, tmp_path: Path, how: str
) -> None:
    (tmp_path / "pepper").write_text(PEPPER)

    def bootstrap(*options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*COMMANDS[how], *options],
            cwd=tmp_path,
            env={
                "RDEV_DATABASE_URL": database_url,
                "RDEV_REDIS_URL": redis_url,
                "RDEV_PEPPER_FILE": str(tmp_path / "pepper"),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    door = authentication(database, redis_url)
    first = bootstrap()
    assert first.returncode == 0, first.stderr
    assert door.admit(first.stdout.strip(), None).key.name == FIRST_KEY
    again = bootstrap()
    assert (again.returncode, again.stdout) == (1, "")
    assert "--recover" in again.stderr
    recovered = bootstrap("--recover")
    assert recovered.returncode == 0, recovered.stderr
    key = door.admit(recovered.stdout.strip(), None).key
    assert (key.name, key.allows("admin")) == (RECOVERED_KEY, True)
    with database.transaction() as tx:
        rows = tx.audit.list(before=None, limit=10, action="key.created")
    assert [row.entry.key_id for row in rows] == ["bootstrap", "bootstrap"]
