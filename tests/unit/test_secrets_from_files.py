"""Secrets that are mounted as files."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from rdev.config import read, variable


@pytest.mark.parametrize("name", ["pepper", "database_url", "redis_url", "archive_credentials"])
def test_what_is_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    file = {variable(f"{name}_file"): str(tmp_path / "secret")}
    assert getattr(read(file), name).get_secret_value() == "from the file"
    both = read({**file, variable(name): "given"})
    assert getattr(both, name).get_secret_value() == "given"


def test_a_file_that_is_not_there_is_named_and_nothing_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"RDEV_REDIS_URL_FILE.*gone") as caught:
        read({"RDEV_PEPPER": "p" * 32, "RDEV_REDIS_URL_FILE": str(tmp_path / "gone")})
    assert "pppp" not in str(caught.value)


def test_credentials_of_the_archive_are_options_of_its_store(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("AWS_ACCESS_KEY_ID=me\n\nAWS_SECRET_ACCESS_KEY = a=b== \n")
    there = read({"RDEV_ARCHIVE_CREDENTIALS_FILE": str(tmp_path / "s")})
    assert there.archive_options == {"aws_access_key_id": "me", "aws_secret_access_key": "a=b=="}
    assert "a=b" not in repr(there)
