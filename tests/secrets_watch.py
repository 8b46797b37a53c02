"""Looks for the secrets of a test run where none may be: logs, audit rows, metrics, spans, argv.

Collected are all that a client in the tests was given (API keys, webhook secrets, tickets), the
stack's own (admin key, pepper), and the values of `env` and `stdin` that have `secret` in them: so
a test marks one. What a command line says is its author's, and is looked at only for these.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from http_client import SECRETS
from live_stack import Stack, wait_for

_EVERY_S = 0.5
_SHORTEST = 12


@contextmanager
def watched(stack: Stack) -> Iterator[None]:
    """Watch the process list meanwhile; look everywhere at the end, and fail where a secret is."""
    seen: set[bytes] = set()
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(stack, seen, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    secrets = {secret for secret in SECRETS | _own(stack) if len(secret) >= _SHORTEST}
    places: dict[str, bytes] = {str(path): path.read_bytes() for path in _logs(stack)}
    places |= {"the process list": b"\n".join(seen), "/metrics": stack.admin.get("/metrics").body}
    audit = stack.admin.get("/audit", accept="application/x-ndjson")
    if audit.status != 404:
        assert audit.status == 200, audit.body
        places["/audit"] = audit.body
    if stack.collector is not None:
        # They are sent in batches: after a short run the first may not have come yet. That none
        # comes at all would be a broken collector.
        places["spans"] = wait_for(stack.collector.everything)
    assert seen, "no process was seen: the watch itself is broken"
    assert leaks(secrets, places) == []


def leaks(secrets: Iterable[bytes], places: Mapping[str, bytes]) -> list[str]:
    """Where a secret is, and what stands around it; the secret itself is not told once more."""
    found = []
    for secret in secrets:
        for place, content in places.items():
            at = content.find(secret)
            if at >= 0:
                before = content[max(0, at - 120) : at].decode(errors="replace")
                found.append(f"{place}: …{before}[{secret[:9].decode(errors='replace')}…]")
    return found


def _own(stack: Stack) -> set[bytes]:
    files = [path for path in (stack.home / "secrets").rglob("*") if path.is_file()]
    return {stack.admin_key.encode(), *(path.read_bytes().strip() for path in files)}


def _logs(stack: Stack) -> list[Path]:
    """Not what `rdev up` says to whoever starts it: that shows the first key, once, on purpose."""
    return [path for path in (stack.home / "log").rglob("*") if path.is_file()]


def _watch(stack: Stack, seen: set[bytes], over: threading.Event) -> None:
    while True:
        seen.update(_command_lines(stack))
        if over.wait(_EVERY_S):
            return


def _command_lines(stack: Stack) -> Iterator[bytes]:
    """Of rdev's processes, and of the commands in its workspaces."""
    home = f"HOME={stack.home}/".encode()
    ours = {stack.process.pid}
    for pid in sorted(int(entry.name) for entry in Path("/proc").glob("[0-9]*")):
        with suppress(OSError, ValueError, IndexError):
            folder = Path(f"/proc/{pid}")
            stat = (folder / "stat").read_bytes()
            parent = int(stat[stat.rindex(b")") + 2 :].split()[1])
            if pid in ours or parent in ours or home in (folder / "environ").read_bytes():
                ours.add(pid)
                yield (folder / "cmdline").read_bytes().replace(b"\0", b" ")
