"""The Makefile's own errors: one clear line each that says what to do, and nothing half-made."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rdev.config import SOURCE_ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without a .venv."""
    folder = tmp_path / "check out"  # also where the path holds a blank
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(SOURCE_ROOT / name, folder)
    return folder


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def make(checkout: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", *words], cwd=checkout, capture_output=True, text=True, timeout=60, check=False
    )


def the_line(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_make_alone_lists_what_there_is(checkout: Path) -> None:
    done = make(checkout)
    assert done.returncode == 0
    assert all(f"make {name}" in done.stdout for name in ("run", "test", "fast", "check"))


def test_a_too_old_python_is_named(checkout: Path, tmp_path: Path) -> None:
    old = script(tmp_path / "old", '[ "$1" = --version ] && echo Python 3.9.2 && exit; exit 1')
    line = the_line(make(checkout, "run", f"PYTHON={old}"))
    assert "Python 3.9.2" in line
    assert "Install Python 3.11 or later" in line
    assert not (checkout / ".venv").exists()


def test_a_missing_python_is_said(checkout: Path) -> None:
    assert "No Python found" in the_line(make(checkout, "run", "PYTHON=no-such-python"))


def test_a_missing_venv_module_says_which_package_to_install(
    checkout: Path, tmp_path: Path
) -> None:
    body = f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    bare = script(tmp_path / "bare", body)
    line = the_line(make(checkout, "run", f"PYTHON={bare}"))
    assert f"apt install python3.{sys.version_info.minor}-venv" in line
    assert not (checkout / ".venv").exists()


def test_a_half_made_environment_is_removed(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    body = f'[ "$1 $2" = "-m venv" ] && exit 1; exec {sys.executable} "$@"'
    broken = script(tmp_path / "broken", body)
    line = the_line(make(checkout, "run", f"PYTHON={broken}"))
    assert "could not make" in line
    assert not (checkout / ".venv").exists()
