"""Secrets that are mounted as files."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from rdev.config import Settings


@pytest.mark.parametrize("name", ["pepper", "database_url", "redis_url", "archive_credentials"])
def test_what_is_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    read = Settings(**{f"{name}_file": tmp_path / "secret"})
    assert getattr(read, name).get_secret_value() == "from the file"
    both = Settings(**{f"{name}_file": tmp_path / "secret", name: "given"})
    assert getattr(both, name).get_secret_value() == "given"


def test_a_file_that_is_not_there_is_named_and_nothing_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"RDEV_REDIS_URL_FILE.*gone") as caught:
        Settings(pepper="p" * 32, redis_url_file=tmp_path / "gone")
    assert "pppp" not in str(caught.value)


def test_credentials_of_the_archive_are_options_of_its_store(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("AWS_ACCESS_KEY_ID=me\n\nAWS_SECRET_ACCESS_KEY = a=b== \n")
    read = Settings(archive_credentials_file=tmp_path / "s")
    assert read.archive_options == {"aws_access_key_id": "me", "aws_secret_access_key": "a=b=="}
    assert "a=b" not in repr(read)
