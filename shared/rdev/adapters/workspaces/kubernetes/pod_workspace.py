"""The commands in one pod. See ports.Workspace for what each method promises.

What must hold while nobody is attached lies in supervisor.sh, what is done in the pod in agent.sh;
here is what follows from what they say.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from rdev import failpoints
from rdev.adapters.workspaces import judgement, launch_file, start_token
from rdev.adapters.workspaces.kubernetes.pod_changes import PodChanges
from rdev.adapters.workspaces.kubernetes.pod_shell import PodShell
from rdev.adapters.workspaces.kubernetes.pod_talk import Answer, Unanswered
from rdev.adapters.workspaces.kubernetes.seen import Pod
from rdev.adapters.workspaces.processes import Process
from rdev.adapters.workspaces.start_token import StartToken
from rdev.adapters.workspaces.stdin_file import MOST_UNREAD_BYTES
from rdev.domain.commands import Exit, Launch
from rdev.domain.environment import problem
from rdev.domain.ids import COMMAND_ID
from rdev.errors import CommandRefused, InvalidRequest, WorkspaceUnavailable, WorkspaceUnfit
from rdev.ports import Liveness

_BLOCK = 4096
_MOST_BLOCKS = 257
_FEED_BYTES = 256 * 1024
_RINGS = 1000
"""As many rings unheard: the fifo they go into takes 65,536 before whoever rings would wait."""
_KILL_S = 60.0
_EXIT = re.compile(r"\d{1,3}", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)
_TICKS = 100
"""A second, of process times on Linux (USER_HZ), on every architecture that Kubernetes runs on."""
_LOOKS = 5
_FILES = {"stdout": "out", "stderr": "err"}


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a command: its processes first, then its files."""

    token: StartToken | None
    alive: frozenset[Process]
    names: frozenset[str]
    exit: Exit | None
    refusal: tuple[str, str] | None
    pod: str
    """The life of the pod in which it was prepared."""
    moved: bool
    """That was another container than the one that was looked into."""
    up_s: float | None
    """How long after its boot the machine was looked at."""
    becoming: bool
    """Its leader has not become the command yet, so it may still decline."""
    unsteady: bool
    """Its token changed meanwhile."""

    @property
    def decided(self) -> bool:
        """Whether it is known for good if its leader declined."""
        return self.token is not None and self.token.signed and not self.becoming

    @property
    def ended(self) -> bool:
        return self.exit is not None or "refused" in self.names

    @classmethod
    def of(cls, answer: Answer) -> "Seen":
        refused = answer.words("refused")
        reason, _, message = refused[0].partition(" ") if refused else ("", "", "")
        status, now = answer.word("exit"), answer.word("now")
        return cls(
            token=_token(answer),
            alive=frozenset(_process(each) for each in answer.words("alive")),
            names=frozenset(answer.words("has")),
            exit=Exit(int(status)) if _EXIT.fullmatch(status) else None,
            refusal=(reason, message) if refused else None,
            pod=answer.word("pod"),
            moved="moved" in answer.lines,
            up_s=float(now) if _SECONDS.fullmatch(now) else None,
            becoming="becoming" in answer.lines,
            unsteady="again" in answer.lines,
        )


@dataclass(frozen=True, slots=True)
class Inside:
    """The way into a pod."""

    pod: Pod
    shell: PodShell
    changes: PodChanges


class PodWorkspace:
    """Of a project, whichever pod it has: one that follows a command follows it into the next."""

    def __init__(
        self,
        inside: Callable[[str | None], Inside],
        why: Callable[[str], str],
        life: str | None = None,
    ) -> None:
        """`inside` leads to the pod whose files have this `life`, should there be several pods, and
        raises WorkspaceNotReady while none runs; `why` tells how this life of a pod ended, an
        empty one where nothing tells which."""
        self._lead_inside = inside
        self._why = why
        self._life = life
        self._rung: dict[str, tuple[int, int]] = {}
        self._last: dict[str, Seen] = {}
        """As `liveness` saw them."""

    def _inside(self) -> Inside:
        return self._lead_inside(self._life)

    @property
    def _shell(self) -> PodShell:
        return self._inside().shell

    def life(self) -> str:
        try:
            life = self._shell.there().life
        except WorkspaceUnfit as exc:
            raise CommandRefused(exc.reason, exc.message) from exc
        self._life = self._life or life  # who has asked once stays with what the answer was about
        return life

    def boot_id(self) -> str | None:
        return self._shell.there().boot or None

    def start(self, launch: Launch) -> None:
        launch_file.check(launch)
        _refuse_limits(launch)
        inside = self._inside()
        there = inside.shell.there()
        given = {name: value for name, value in there.env.items() if not problem({name: value})}
        path = given.pop("PATH", launch_file.DEFAULT_PATH)
        own = launch_file.environment(launch, home=there.home, path=path)
        script = launch_file.render(launch, {**given, **own})
        has_stdin = bool(launch.stdin) or launch.stdin_open
        try:
            inside.shell.ask(
                "start",
                _checked(launch.command_id),
                launch.life or there.life,
                len(script),
                len(launch.stdin) if has_stdin else "-",
                "open" if launch.stdin_open else "closed",
                _life_of(inside.pod),
                *(["again"] if failpoints.without("start_token") else []),
                data=script + launch.stdin,
            )
        except Unanswered:
            return  # perhaps; `liveness` will tell

    def liveness(self, command_id: str) -> Liveness:
        seen = self._last[command_id] = self._look(command_id)
        if seen.token is None:
            return Liveness.PREPARED if "launch" in seen.names else Liveness.UNKNOWN
        if seen.token.cancelled:
            return Liveness.CANCELLED
        judged = judgement.of_started(
            seen.token,
            self._shell.there().boot,
            has=seen.names.__contains__,
            ended=lambda: seen.ended,
            alive=seen.alive.__contains__,
        )
        return judged or self._abandoned(command_id, seen.token)

    def refusal(self, command_id: str) -> tuple[str, str] | None:
        seen = self._last.get(command_id)
        return (seen if seen and seen.decided else self._look(command_id)).refusal

    def ran_for_s(self, command_id: str) -> float | None:
        seen = self._look(command_id)
        token, boot = seen.token, self._shell.there().boot
        if token is None or token.leader is None or token.boots != {boot} or seen.up_s is None:
            return None
        return seen.up_s - token.leader.start / _TICKS

    def exit(self, command_id: str) -> Exit | None:
        seen = self._last.get(command_id)
        return (seen if seen and "done" in seen.names else self._look(command_id)).exit

    def read(self, command_id: str, stream: str, offset: int, max_bytes: int) -> bytes:
        first, ahead = divmod(offset, _BLOCK)
        count = min(_MOST_BLOCKS, -(-(ahead + max_bytes) // _BLOCK))
        answer = self._shell.ask(
            "read", _checked(command_id), _FILES[stream], first, count, bytes_back=True
        )
        return answer.data[ahead : ahead + max_bytes]

    def wait(self, command_id: str, timeout_s: float) -> None:
        self._inside().changes.wait(_checked(command_id), timeout_s)

    def wake(self, command_id: str) -> None:
        self._inside().changes.wake(command_id)

    def feed(self, command_id: str, offset: int, data: bytes) -> int | None:
        copied, rings = self._rung.get(command_id, (0, 0))
        data = data[:_FEED_BYTES]
        how = "ring" if rings < _RINGS else "still"
        words = (_checked(command_id), offset, len(data), MOST_UNREAD_BYTES, how)
        said = self._shell.ask("feed", *words, data=data).text
        if said == "gone":
            return None
        size, now_copied = map(int, said.split())
        self._rung[command_id] = (now_copied, rings + 1 if now_copied == copied else 1)
        return size

    def close_stdin(self, command_id: str) -> None:
        self._shell.ask("close", _checked(command_id))

    def usage(self, command_id: str) -> Mapping[str, int | float]:  # noqa: ARG002 - the port's
        """Nothing: the kernel counts for the container as a whole."""
        return {}

    def signal(self, command_id: str, name: str) -> None:
        self._shell.ask("signal", _checked(command_id), name, timeout_s=_KILL_S)

    def survivors(self, command_id: str) -> int:
        return int(self._shell.ask("survivors", _checked(command_id)).text)

    def flushed(self, command_id: str) -> bool | None:
        seen = self._look(command_id)
        supervisors = {taker.supervisor for taker in seen.token.takers} if seen.token else set()
        return "synced" in seen.names or (False if supervisors & seen.alive else None)

    def loss(self, command_id: str) -> str | None:
        try:
            seen = self._look(command_id)
        except WorkspaceUnfit:
            return self._why("")
        return None if seen.pod and not seen.moved else self._why(seen.pod)

    def forestall(self, command_id: str) -> bool:
        try:
            return self._shell.ask("forestall", _checked(command_id)).text == "yes"
        except WorkspaceUnfit:
            return True  # nothing can start there

    def clean(self, command_id: str) -> None:
        inside = self._inside()
        inside.shell.ask("clean", _checked(command_id))
        self._last.pop(command_id, None)
        inside.changes.forget(command_id)

    def _look(self, command_id: str) -> Seen:
        for _ in range(_LOOKS):
            seen = Seen.of(self._shell.ask("look", _checked(command_id)))
            if not seen.unsteady:
                return seen
        raise WorkspaceUnavailable(f"The start token of {command_id} does not keep still.")

    def _abandoned(self, command_id: str, token: StartToken) -> Liveness:
        """Nobody is left to end it properly, so this does. Looked at anew: who was seen to be gone
        may have left its last files since, or given the token back, so that another took it."""
        seen = self._look(command_id)
        if seen.token != token:
            return self.liveness(command_id)
        if "done" in seen.names:
            return Liveness.ENDED
        never = judgement.never_began(token, self._shell.there().boot)
        words = ("infrastructure", judgement.NEVER_BEGAN) if never else ()
        self._shell.ask("end", _checked(command_id), *words, timeout_s=_KILL_S)
        return Liveness.ENDED if self._look(command_id).ended else Liveness.DEAD


def poll(shell: PodShell, command_ids: Collection[str]) -> Mapping[str, str]:
    """How these look from outside: names, sizes and times of the files that change."""
    listed = shell.ask("poll", *command_ids, bytes_back=True).data.decode("utf-8", "replace")
    seen: dict[str, str] = {}
    for line in listed.splitlines():
        path = line.rpartition(" ")[2]
        if "/" in path:
            command_id = path.partition("/")[0]
            seen[command_id] = f"{seen.get(command_id, '')}{line}\n"
    return seen


def _token(answer: Answer) -> StartToken | None:
    for signed, end in (("tokenyes", "\n"), ("token", "")):
        for text in answer.words(signed):
            return start_token.parse(f"{text}{end}", lambda: answer.words("by"))
    return None


def _process(text: str) -> Process:
    pid, _, start = text.partition(":")
    return Process(int(pid), int(start))


def _life_of(pod: Pod) -> str:
    return f"{pod.ref.uid}/{pod.ref.container_started}"


def _refuse_limits(launch: Launch) -> None:
    for name in ("memory_mb", "processes"):
        if getattr(launch, name) is not None:
            raise CommandRefused("limits_not_enforceable", f"{name} is not enforceable here")


def _checked(command_id: str) -> str:
    if not COMMAND_ID.fullmatch(command_id):
        raise InvalidRequest.field("command", "no id of a command")
    return command_id
