"""Which server, with which key, and what to say when that does not work.

The key comes from an environment variable or a file, never from an argument. A key that was
found in a client.json goes to that file's server and to no other.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rdev.cli.terminal import complain

if TYPE_CHECKING:
    from rdev.client import Client, ClientError

DEFAULT_SERVER = "http://127.0.0.1:8080"


class Unconfigured(Exception):
    """There is no server or no key to be had; the message says how to give one."""


@dataclass(frozen=True, slots=True)
class Access:
    """A server, a key for it, and where the key was found."""

    server: str
    api_key: str = field(repr=False)
    key_source: str


def resolve(
    server: str | None, key_file: Path | None, environ: Mapping[str, str] = os.environ
) -> Access:
    """The access that flags, environment and files give, in this order. Raises Unconfigured."""
    chosen = server or environ.get("RDEV_SERVER")
    file_server, file_key, path = _from_files(environ, chosen)
    url = chosen or file_server or DEFAULT_SERVER
    if key_file is not None:
        return Access(url, _read_key(key_file), str(key_file))
    if environ.get("RDEV_API_KEY"):
        return Access(url, environ["RDEV_API_KEY"], "RDEV_API_KEY")
    if environ.get("RDEV_API_KEY_FILE"):
        return Access(url, _read_key(Path(environ["RDEV_API_KEY_FILE"])), "RDEV_API_KEY_FILE")
    if file_key:
        return Access(url, file_key, path)
    raise Unconfigured(
        f"no API key for {url}: set RDEV_API_KEY, or give --key-file; "
        "`make run` (or `rdev up`) starts a server here and keeps a key for this folder"
    )


@contextmanager
def connected(server: str | None, key_file: Path | None) -> Iterator["Client"]:
    """A client for the block; its errors become one line on stderr and exit code 1."""
    # httpx brings a command line of its own, whose imports take longer than the rest of it.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # = "cannot import"
    from rdev.client import Client, ClientError, Patience

    source = ""
    try:
        access = resolve(server, key_file)
        source = access.key_source
        with Client(access.server, access.api_key, patience=Patience(retry_s=10.0)) as client:
            yield client
    except Unconfigured as exc:
        complain(str(exc))
        raise typer.Exit(1) from None
    except ClientError as exc:
        complain(explain(exc, source))
        raise typer.Exit(1) from None


def explain(exc: "ClientError", key_source: str = "") -> str:
    """One line: what happened and what to do."""
    from rdev.client import ApiError, CannotConnect, Unauthorized

    if isinstance(exc, CannotConnect):
        return (
            f"{exc}. Is it running? `make run` (or `rdev up`) starts it here; "
            "--server or RDEV_SERVER names another."
        )
    if isinstance(exc, Unauthorized):
        return f"the server does not accept the API key from {key_source or 'here'}: {exc}"
    if not isinstance(exc, ApiError):
        return str(exc)
    details = "; ".join(f"{each.field}: {each.message}" for each in exc.details)
    text = f"{exc.message} ({details})" if details and details not in exc.message else exc.message
    return f"{text} [{exc.code}, {exc.request_id}]" if exc.request_id else f"{text} [{exc.code}]"


def _from_files(environ: Mapping[str, str], chosen: str | None) -> tuple[str, str, str]:
    """(server, key, path) of the first client.json; only one for `chosen` where that is given."""
    for path in _paths(environ):
        found = _read_access(path)
        if found is None:
            continue
        server, key = found
        if chosen is None or _same(server, chosen):
            return server, key, str(path)
    return "", "", ""


def _paths(environ: Mapping[str, str]) -> list[Path]:
    config = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return [
        Path(environ.get("RDEV_HOME") or ".rdev") / "client.json",
        Path(config) / "rdev" / "client.json",
    ]


def _read_access(path: Path) -> tuple[str, str] | None:
    try:
        values = json.loads(path.read_text())
        return str(values["server"]), str(values["api_key"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise Unconfigured(f"{path} cannot be read: {exc.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise Unconfigured(
            f'{path} is damaged; it should hold {{"server": "…", "api_key": "…"}}. '
            "Remove it, and `rdev up` writes it anew."
        ) from None


def _read_key(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or "not text"
        raise Unconfigured(f"the key file {path} cannot be read: {why}") from None


def _same(one: str, other: str) -> bool:
    return one.rstrip("/").lower() == other.rstrip("/").lower()
