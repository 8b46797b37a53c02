"""The first admin key, the demo project, and the lines to paste. Repeating it changes nothing."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from rdev import wiring
from rdev.config import settings
from rdev.domain.callers import rdev_itself
from rdev.errors import Conflict, WorkspaceUnavailable
from rdev.on_disk import keep_secret, put_on_disk

DEMO = "demo"
_README = "# demo\n\nA project to try rdev on. Everything here may be thrown away.\n"
_BY_RDEV_UP = rdev_itself("rdev-up")


def first_run(home: Path, base_url: str) -> list[str]:
    """What `rdev up` prints once everything answers. Needs the stores, and the settings in this
    process's environment."""
    lines: list[str] = []
    secret = wiring.keys().create_first()
    if secret is not None:
        client = json.dumps({"server": base_url, "api_key": secret})
        keep_secret(home / "client.json", f"{client}\n")
        keep_secret(home / "api-key.header", f"X-API-Key: {secret}\n")
        lines += [
            f"Your admin key, shown this once: {secret}",
            f"  (kept, readable by you alone, in {_short(home)}/client.json)",
            "",
        ]
    elif not (home / "client.json").exists():
        lines += [
            f"There are API keys already, and none in {_short(home)}/client.json.",
            f"A new one for the admin: {_at_home(home)}{_rdev()} keys bootstrap --recover",
            "",
        ]
    else:
        _follow_port(home / "client.json", base_url)
    lines += _make_demo()
    return lines + _to_paste(home, base_url)


def _follow_port(path: Path, base_url: str) -> None:
    kept = json.loads(path.read_text())
    if kept.get("server") != base_url:
        keep_secret(path, json.dumps({**kept, "server": base_url}) + "\n")


def _make_demo() -> list[str]:
    try:
        wiring.projects().create(_BY_RDEV_UP, DEMO)
    except Conflict:
        return []
    except WorkspaceUnavailable as exc:
        return [f"There is no project `demo`: {exc.message}", ""]
    if settings().workspaces != "local":
        return []
    folder = settings().workspaces_dir / DEMO
    if not (folder / "README.md").exists():
        (folder / "README.md").write_text(_README)
    git = shutil.which("git")
    if git is None:
        return ["git is not installed: the project `demo` is a plain folder.", ""]
    author = ["-c", "user.name=rdev", "-c", "user.email=rdev@localhost"]
    try:
        for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "A demo"]):
            subprocess.run(  # noqa: S603 - words of our own
                [git, *author, *words], cwd=folder, check=False, timeout=60, capture_output=True
            )
    except subprocess.TimeoutExpired:
        shutil.rmtree(folder / ".git", ignore_errors=True)
        return ["git was not done after a minute: the project `demo` is a plain folder.", ""]
    # Half of it, after a power cut, would stay half for good.
    put_on_disk(folder, limit_s=20)
    return []


def _to_paste(home: Path, base_url: str) -> list[str]:
    header = f"-H @{shlex.quote(_short(home) + '/api-key.header')}"
    shell = f"{base_url}/projects/{DEMO}/shell"
    as_json = "-H 'Content-Type: application/json'"
    count = """'{"command": "for i in 1 2 3; do echo $i; sleep 1; done"}'"""
    take_id = r"""sed 's/.*"stream_id": "\([^"]*\)".*/\1/'"""
    return [
        "Run a command and wait for its end:",
        f"  curl -s {header} {as_json} -H 'Prefer: wait=30' {shell} "
        """-d '{"command": "uname -a"}'""",
        "Run one and watch it live:",
        f'  curl -sN {header} "{base_url}/projects/{DEMO}/events?stream_id='
        f'$(curl -s {header} {as_json} {shell} -d {count} | {take_id})"',
        "Or as if it were your own shell:",
        f"  {_at_home(home)}{_rdev()} run {DEMO} -- echo hello from rdev",
    ]


def _rdev() -> str:
    return _short(Path(sys.executable).parent / "rdev")


def _at_home(home: Path) -> str:
    """How the client finds `home` where that is not its default."""
    if home.resolve() == Path(".rdev").resolve():
        return ""
    return f"RDEV_HOME={shlex.quote(_short(home))} "


def _short(path: Path) -> str:
    """Relative where it lies below the folder that the user is in."""
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)
