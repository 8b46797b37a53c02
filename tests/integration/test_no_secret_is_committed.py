"""The pre-commit hooks, in a repository of the test's own: secrets are refused, what names them is
not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rdev.config import SOURCE_ROOT
from rdev.domain.key_secrets import new_secret

pytestmark = pytest.mark.slow

CONFIG = SOURCE_ROOT / ".pre-commit-config.yaml"
OTHERS = "ruff,ruff-format,mypy,lint-imports"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n"
REFUSED = {
    "a file of secrets": ("deploy/secrets.yaml", "a: b\n"),
    "a Secret that is filled in": ("deploy/store.yaml", f"{SECRET}stringData: {{password: x1}}\n"),
    "one among others": (
        "deploy/more.yml",
        f"kind: Job\n---\n{SECRET}data: {{p: eA==}}\n---\nkind: Job\n",
    ),
    "a Secret that nobody can read": ("deploy/bad.yaml", f"{SECRET}data: {{{{ a\n"),
    "a key of rdev's": ("docs/how.md", f"curl -H 'X-API-Key: {new_secret()}'\n"),
    "a private key": ("deploy/key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"),
    "a password in a URL": ("deploy/a.env", "X=postgresql://rdev:hunter22@postgres.example.com/x\n"),
}  # fmt: skip
TAKEN = {
    name: (SOURCE_ROOT / name).read_text()
    for name in (
        "compose.yaml",
        "deploy/compose/secrets.sh",
        "deploy/knative/base/migrations.yaml",
        "deploy/knative/external-secrets.example.yaml",
        "deploy/knative/secrets.example.yaml",
        "docs/api/authentication.md",
        "stack.yml",
    )
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("repository")
    git(place, "init", "-q")
    shutil.copy(CONFIG, place)
    shutil.copytree(SOURCE_ROOT / ".ci", place / ".ci")
    (place / ".venv").symlink_to(Path(sys.executable).parents[1])
    git(place, "add", CONFIG.name, ".ci")
    return place


def git(place: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=place, check=True, timeout=60)


def hooks(repository: Path, files: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """What the hooks say of these files."""
    for name, text in files.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)
    git(repository, "add", *files)
    environment = {"HOME": str(repository), "SKIP": OTHERS, "PATH": os.environ["PATH"]}
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--files", *files],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    git(repository, "rm", "-q", "-f", *files)
    return done


def test_a_secret_of_every_kind_is_refused(repository: Path) -> None:
    done = hooks(repository, dict(REFUSED.values()))
    assert done.returncode == 1, done.stderr
    assert [what for what, (name, _) in REFUSED.items() if name not in done.stdout] == []


def test_what_only_names_secrets_is_taken(repository: Path) -> None:
    done = hooks(repository, TAKEN)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_that_are_left_out_here_are_not_about_secrets() -> None:
    (local,) = yaml.safe_load(CONFIG.read_text())["repos"]
    ids = {hook["id"] for hook in local["hooks"]}
    assert ids - set(OTHERS.split(",")) == {"no-secrets-file", "detect-secrets", "refuse-secrets"}
