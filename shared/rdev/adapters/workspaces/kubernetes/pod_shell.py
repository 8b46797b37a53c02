"""A shell in a pod that is kept open: it starts commands and tells of them (agent.sh).

Nothing depends on the connection: a new one knows as much, for all there is to know lies in files
of the pod. So a question that got no answer is asked again, once, over another one.
"""

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.exec_status import ExecEnded
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.adapters.workspaces.kubernetes.pod_talk import AgentRefused, Answer, PodTalk, Unanswered
from rdev.errors import WorkspaceUnavailable, WorkspaceUnfit

_AGENT = Path(__file__).with_name("agent.sh")
_SUPERVISOR = Path(__file__).parents[1] / "supervisor.sh"
_ANSWER_S = 20.0
_NO_SH = re.compile(r"executable file|finding executable|\bsh\W*no such file", re.IGNORECASE)
"""As container runtimes say it. That something else was "not found" is said of what is ending."""
_NOT_RUN = (126, 127)


@dataclass(frozen=True, slots=True)
class Place:
    """Where things lie in a pod."""

    commands: str
    workspace: str


@dataclass(frozen=True, slots=True)
class There:
    """What a pod says of itself as a connection begins."""

    life: str
    """Of the files in which start tokens lie."""
    boot: str
    home: str
    """The workspace, without symlinks."""
    env: Mapping[str, str]
    """What its container gives to processes."""


class PodShell:
    """One container's, for all threads of a process. Connects when asked."""

    def __init__(self, execs: Execs, ref: PodRef, place: Place, *, drain_s: float) -> None:
        self._execs = execs
        self._ref = ref
        self._place = place
        self._drain_s = drain_s
        self._lock = threading.Lock()
        self._talk: PodTalk | None = None
        self._there: There | None = None
        self._closed = False
        self._failed_at, self._failure = 0.0, ""
        self._nonce = self._stuck = ""
        self.used_at = time.monotonic()

    def there(self, timeout_s: float = _ANSWER_S) -> There:
        """Raises WorkspaceUnfit, and WorkspaceUnavailable."""
        if self._there is None:
            until = time.monotonic() + timeout_s
            asked_at = time.monotonic()
            with self._turn(until):
                self._connected(until, asked_at)
        assert self._there is not None
        return self._there

    def ask(
        self,
        verb: str,
        *words: object,
        data: bytes = b"",
        bytes_back: bool = False,
        timeout_s: float = _ANSWER_S,
    ) -> Answer:
        """Raises AgentRefused, Unanswered where it may have been heard, WorkspaceUnfit, and
        WorkspaceUnavailable where it was certainly not."""
        asked_at = time.monotonic()
        until = asked_at + timeout_s
        heard: Unanswered | None = None
        with self._turn(until):
            while True:
                kept = self._talk is not None
                try:
                    talk = self._connected(until, asked_at)
                    return talk.ask(verb, *words, data=data, until=until, bytes_back=bytes_back)
                except AgentRefused as exc:
                    # This one did nothing. What one before it did, that may have heard it, is
                    # not known.
                    raise heard or exc from exc
                except WorkspaceUnavailable as exc:
                    self._drop()
                    self._note_stuck(until)
                    heard = exc if isinstance(exc, Unanswered) else heard
                    # A connection that was kept may have been lost long ago.
                    if not kept or time.monotonic() >= until:
                        raise heard or exc from exc

    def close(self) -> None:
        """For good, without waiting: a question under way gets its answer first. What was begun in
        the pod goes on."""
        self._closed = True
        self._drop_unless_busy()

    @contextmanager
    def _turn(self, until: float) -> Iterator[None]:
        self.used_at = time.monotonic()
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise WorkspaceUnavailable(f"The pod {self._ref.name} is busy and does not answer.")
        try:
            yield
        finally:
            self._lock.release()
            if self._closed:
                self._drop_unless_busy()

    def _drop_unless_busy(self) -> None:
        """Whoever is busy with it does so afterwards."""
        if self._lock.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._lock.release()

    def _drop(self) -> None:
        talk, self._talk = self._talk, None
        if talk is not None:
            talk.close()

    def _connected(self, until: float, asked_at: float) -> PodTalk:
        if self._closed:
            raise WorkspaceUnavailable(f"The shell in {self._ref.name} was closed; ask again.")
        if self._talk is None:
            if asked_at < self._failed_at:  # by whoever tried it while this one waited
                raise WorkspaceUnavailable(self._failure)
            try:
                self._talk = self._connect(until)
            except WorkspaceUnfit:  # soon known, and each is to be told why
                raise
            except WorkspaceUnavailable as exc:
                failed_at = time.monotonic()
                if failed_at < until:  # who merely had too little time left knows nothing
                    self._failed_at, self._failure = failed_at, exc.message
                raise
            self._failed_at = 0.0
        return self._talk

    def _connect(self, until: float) -> PodTalk:
        supervisor, sha256 = _supervisor()
        name, drain = f".supervisor-{sha256[:16]}.sh", round(self._drain_s * 100)
        place = (self._place.commands, self._place.workspace)
        self._nonce = os.urandom(8).hex()
        argv = ["sh", "-s", *place, self._nonce, name, sha256, str(drain)]
        argv += [self._stuck] if self._stuck else []
        talk = PodTalk(self._execs.open(self._ref, argv))
        try:
            talk.begin(_AGENT.read_bytes(), until)
            self._there = self._met(talk, supervisor, until)
        except ExecEnded as ended:
            talk.close()
            raise _not_begun(self._ref, ended) from ended
        except BaseException:
            talk.close()
            self._note_stuck(until)
            raise
        return talk

    def _note_stuck(self, until: float) -> None:
        """One that did not answer in time may have been stopped, or read a file without end: the
        next one kills it, and is more careful."""
        if time.monotonic() >= until:
            self._stuck = self._nonce

    def _met(self, talk: PodTalk, supervisor: bytes, until: float) -> There:
        def ask(verb: str, *words: object, **more: Any) -> Answer:
            return talk.ask(verb, *words, until=until, **{"data": b"", "bytes_back": False, **more})

        said = ask("hello")
        if missing := said.word("missing"):
            raise WorkspaceUnfit(
                "no_shell",
                f"The image of {self._ref.name} lacks {missing.replace(' ', ', ')}: install "
                "busybox, or coreutils, findutils, grep and util-linux.",
            )
        if said.words("unwritable"):
            raise WorkspaceUnfit(
                "workspace_not_writable",
                f"In {self._ref.name} nothing can be written to {self._place.commands}: mount a "
                "volume there, or name another folder by the pod's annotation rdev.dev/root.",
            )
        if said.words("undelivered"):
            ask("deliver", len(supervisor), data=supervisor)
        if self._there is None:
            ask("prune")
        env = ask("environ", bytes_back=True).data
        return There(said.word("life"), said.word("boot"), said.word("home"), _environment(env))


@cache
def _supervisor() -> tuple[bytes, str]:
    script = _SUPERVISOR.read_bytes()
    return script, hashlib.sha256(script).hexdigest()


def _environment(raw: bytes) -> Mapping[str, str]:
    pairs = (each.partition(b"=") for each in raw.split(b"\0") if b"=" in each)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _not_begun(ref: PodRef, ended: ExecEnded) -> WorkspaceUnavailable:
    status = ended.status
    if status.exit_code in _NOT_RUN or _NO_SH.search(status.message):
        message = f"The image of {ref.name} has no `sh`, so no command can run in it."
        return WorkspaceUnfit("no_shell", message)
    return WorkspaceUnavailable(f"The pod {ref.name} cannot be entered: {ended}.")
