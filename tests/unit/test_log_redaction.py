"""Log lines of a whole process: no secret in them, wherever it stands."""

import subprocess
import sys

import pytest

SECRET = "Zq8xR3vN1kLw7tYb5mCd2fGh"
PROGRAM = f"""
import logging, structlog
from rdev.platform.logs import configure
configure()
structlog.wrap_logger(
    logging.getLogger("a"), processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    wrapper_class=structlog.stdlib.BoundLogger,
).warning("said", request={{"headers": {{"authorization": "{SECRET}"}}}},
    body=b"token={SECRET}", several=[["password={SECRET}"]])
logging.getLogger("b").warning("said %s", {{"password": "{SECRET}"}})
try:
    raise ValueError("password={SECRET}")
except ValueError:
    logging.getLogger("c").exception("failed")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_line_has_a_secret(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"RDEV_LOG_FORMAT": form},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "said" in done.stderr
    assert "failed" in done.stderr
    assert SECRET not in done.stderr
