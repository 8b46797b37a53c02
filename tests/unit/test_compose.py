"""compose.yaml and compose.e2e.yaml, read by Compose itself (which needs no engine for that, and
refuses what its specification does not know), and held to rules of our own."""

import copy
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from compose_rules import problems
from rdev.config import SOURCE_ROOT
from rdev.http.routes import FUNCTIONS

COMPOSE = Path(sys.executable).with_name("docker-compose")
FILES = {"alone": ("compose.yaml",), "e2e": ("compose.yaml", "compose.e2e.yaml")}


def read(*files: Path, subnet: str = "") -> "subprocess.CompletedProcess[bytes]":
    """What Compose makes of the files, with nothing else set by the caller's environment."""
    named = [word for file in files for word in ("-f", str(file))]
    return subprocess.run(
        [COMPOSE, "--project-directory", SOURCE_ROOT, *named, "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "RDEV_SUBNET": subnet},
        capture_output=True,
        timeout=60,
        check=False,
    )


@lru_cache
def composed(which: str) -> Any:
    done = read(*(SOURCE_ROOT / name for name in FILES[which]))
    assert (done.returncode, done.stderr) == (0, b"")
    return json.loads(done.stdout)


def test_the_tests_system_stands_beside_the_one_that_runs() -> None:
    """Docker refuses a second network over the same addresses."""
    said = subprocess.run(
        ["make", "--dry-run", "e2e"],
        cwd=SOURCE_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    (subnet,) = set(re.findall(r"RDEV_SUBNET=\$\{RDEV_E2E_SUBNET:-([\d./]+)\}", said))
    tests = json.loads(read(*(SOURCE_ROOT / name for name in FILES["e2e"]), subnet=subnet).stdout)
    assert tests["name"] != composed("alone")["name"]
    theirs, ours = (
        ip_network(each["networks"]["default"]["ipam"]["config"][0]["subnet"])
        for each in (tests, composed("alone"))
    )
    assert not theirs.overlaps(ours)


@pytest.mark.parametrize("which", FILES)
def test_compose_takes_the_files_and_they_hold_to_every_rule(which: str) -> None:
    assert problems(composed(which)) == []


@pytest.mark.parametrize("which", FILES)
def test_every_secret_is_made_by_the_script_and_reaches_who_needs_it(
    which: str, tmp_path: Path
) -> None:
    made = made_secrets(tmp_path)
    named = {Path(each["file"]).name for each in composed(which)["secrets"].values()}
    assert named == set(made)
    used = {
        secret["source"]
        for service in composed(which)["services"].values()
        for secret in service.get("secrets", [])
    }
    assert used == named


def made_secrets(folder: Path) -> dict[str, str]:
    script = shutil.copy(SOURCE_ROOT / "deploy/compose/secrets.sh", folder)
    subprocess.run(["sh", script], check=True, timeout=60)
    return {path.name: path.read_text() for path in (folder / "secrets").iterdir()}


def test_secrets_once_made_stay_and_are_nobody_elses(tmp_path: Path) -> None:
    made = made_secrets(tmp_path)
    assert made_secrets(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    (tmp_path / "other").mkdir()
    assert all(text != made[name] for name, text in made_secrets(tmp_path / "other").items())
    assert len(made["pepper"]) >= 32
    for name in ("database-url", "redis-url"):
        assert urlsplit(made[name]).hostname in composed("alone")["services"]
    assert urlsplit(made["database-url"]).password == made["postgres-password"]
    assert f"requirepass {urlsplit(made['redis-url']).password}\n" == made["valkey.conf"]
    identity = json.loads(made["s3.json"])["identities"][0]["credentials"][0]
    assert f"AWS_SECRET_ACCESS_KEY={identity['secretKey']}\n" in made["archive-credentials"]


def test_what_is_mounted_into_the_watchers_is_about_this_system() -> None:
    scraped = yaml.safe_load((SOURCE_ROOT / "deploy/compose/prometheus.yaml").read_text())
    (ours,) = (each for each in scraped["scrape_configs"] if each["job_name"] == "rdev")
    (targets,) = (each["targets"] for each in ours["static_configs"])
    assert sorted(targets) == sorted(f"{name}:8080" for name in (*FUNCTIONS, "runner"))
    collector = yaml.safe_load((SOURCE_ROOT / "deploy/compose/collector.yaml").read_text())
    listens = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    asked = composed("alone")["services"]["exec"]["environment"]
    assert listens.rpartition(":")[2] == asked["OTEL_EXPORTER_OTLP_ENDPOINT"].rpartition(":")[2]
    # What it has no pipeline for it answers with 404, each time it is sent.
    taken = set(collector["service"]["pipelines"])
    sent = {
        signal
        for signal in ("traces", "metrics")
        if asked.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp") == "otlp"
    }
    assert sent == taken


def test_git_ignores_the_secrets() -> None:
    assert "deploy/compose/secrets/" in (SOURCE_ROOT / ".gitignore").read_text().splitlines()


BROKEN: dict[str, tuple[str, str, Any]] = {
    "no function": ("audit", "", None),
    "another function": ("audit", "build", {"args": {"FUNCTION": "keys"}}),
    "the latest image": ("postgres", "image", "docker.io/library/postgres:latest"),
    "an image without a version": ("postgres", "image", "docker.io/library/postgres"),
    "no health check": ("keys", "healthcheck", None),
    "a health check that Podman misreads": (
        "keys",
        "healthcheck",
        {"test": ["CMD", "python", "-c", "import this"]},
    ),
    "a privileged container": ("runner", "privileged", True),
    "the host's processes": ("runner", "pid", "host"),
    "capabilities": ("runner", "cap_drop", None),
    "a root that can be written": ("exec", "read_only", False),
    "new privileges": ("exec", "security_opt", []),
    "no limit of memory": ("exec", "mem_limit", None),
    "no limit of processes": ("exec", "pids_limit", None),
    "Docker's socket": (
        "runner",
        "volumes",
        [{"type": "bind", "source": "/var/run/docker.sock", "read_only": True}],
    ),
    "a port for everybody": ("postgres", "ports", [{"published": "5432", "target": 5432}]),
    "a password in the environment": ("postgres", "environment", {"POSTGRES_PASSWORD": "x"}),
    "a URL in the environment": ("keys", "environment", {"RDEV_DATABASE_URL": "x"}),
    "a misspelt setting": ("keys", "environment", {"RDEV_LOG_LEVL": "x"}),
    "an address that is nobody's": ("keys", "environment", {"OTHER": "http://elsewhere:1"}),
    "a file that is not there": (
        "gateway",
        "volumes",
        [{"type": "bind", "source": "deploy/none", "read_only": True}],
    ),
    "an impatient neighbour": (
        "grafana",
        "depends_on",
        {"valkey": {"condition": "service_started"}},
    ),
}


def test_an_image_may_be_pinned_as_the_docs_say() -> None:
    pinned = copy.deepcopy(composed("alone"))
    pinned["services"]["postgres"]["image"] += f"@sha256:{'0123456789abcdef' * 4}"
    assert problems(pinned) == []


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_wrong_is_found(how: str) -> None:
    broken = copy.deepcopy(composed("alone"))
    name, field, value = BROKEN[how]
    if not field:
        del broken["services"][name]
    elif value is None:
        del broken["services"][name][field]
    else:
        broken["services"][name][field] = value
    assert problems(broken)


@pytest.mark.parametrize("field", ["memlimit: 1g", "depends_on: {none: {condition: started}}"])
def test_compose_refuses_what_its_specification_does_not_know(field: str, tmp_path: Path) -> None:
    added = tmp_path / "added.yaml"
    added.write_text(f"services: {{keys: {{{field}}}}}")
    assert read(SOURCE_ROOT / "compose.yaml", added).returncode != 0
