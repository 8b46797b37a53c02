"""Questions and answers with agent.sh over one exec: the form of both is told there."""

import re
import time
from dataclasses import dataclass

from rdev.adapters.workspaces.kubernetes.exec import STDOUT, Exec
from rdev.adapters.workspaces.kubernetes.exec_status import ExecEnded
from rdev.errors import WorkspaceUnavailable

_MOST_BYTES = 16 << 20
"""More than any answer: what comes on without an end is none."""
_SIZE = re.compile(r"[0-9]{1,8}", re.ASCII)


class AgentRefused(WorkspaceUnavailable):
    """The pod cannot do what it was asked to."""


class Unanswered(WorkspaceUnavailable):
    """The question may have been heard: what became of it is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    lines: tuple[str, ...]
    text: str
    data: bytes = b""

    def words(self, name: str) -> list[str]:
        """What stands behind this word, of each line that begins with it."""
        return [line[len(name) + 1 :] for line in self.lines if line.split(" ", 1)[0] == name]

    def word(self, name: str) -> str:
        return next(iter(self.words(name)), "")


class PodTalk:
    """For one thread at a time. After any error but AgentRefused it is of no more use."""

    def __init__(self, connection: Exec) -> None:
        self._exec = connection
        self._lines = bytearray()
        self._data = bytearray()
        self._number = 0

    def begin(self, script: bytes, until: float) -> None:
        """Send the script, and wait until it has begun. Raises ExecEnded where it has not."""
        self._exec.send(script, _left(until))
        while not self._line(until).startswith("0 . ready"):
            pass

    def ask(self, verb: str, *words: object, data: bytes, until: float, bytes_back: bool) -> Answer:
        """Raises Unanswered, AgentRefused where the answer says that it cannot be done, and
        WorkspaceUnavailable where it was certainly not asked."""
        self._number += 1
        question = " ".join(str(each) for each in (self._number, verb, *words))
        try:
            self._exec.send(f"{question}\n".encode() + data, _left(until))
            return self._answer(until, bytes_back=bytes_back)
        except AgentRefused:
            raise
        except WorkspaceUnavailable as exc:
            raise Unanswered(exc.message) from exc
        except ExecEnded as ended:
            raise Unanswered(f"The pod's shell ended: {ended}.") from ended

    def close(self) -> None:
        self._exec.close()

    def _answer(self, until: float, *, bytes_back: bool) -> Answer:
        lines: list[str] = []
        while True:
            number, mark, text = (*self._line(until).split(" ", 2), "", "")[:3]
            if number != str(self._number):
                raise WorkspaceUnavailable("The pod's shell answers something else.")
            if mark == "-":
                lines.append(text)
            elif mark == "!":
                raise AgentRefused(text)
            else:
                data = self._bytes(_size(text), until) if bytes_back else b""
                return Answer(tuple(lines), text, data)

    def _line(self, until: float) -> str:
        while b"\n" not in self._lines:
            self._receive(until)
        line, _, rest = self._lines.partition(b"\n")
        self._lines = bytearray(rest)
        return line.decode("utf-8", "surrogateescape")

    def _bytes(self, size: int, until: float) -> bytes:
        while len(self._data) < size:
            self._receive(until)
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def _receive(self, until: float) -> None:
        if (left_s := _left(until)) <= 0:
            raise WorkspaceUnavailable("The pod's shell did not answer in time.")
        came = self._exec.receive(left_s)
        if came is None:
            return
        channel, data = came
        into = self._data if channel == STDOUT else self._lines
        into += data
        if len(into) > _MOST_BYTES:
            raise WorkspaceUnavailable("The pod's shell does not stop talking.")


def _size(text: str) -> int:
    if not _SIZE.fullmatch(text):
        raise WorkspaceUnavailable("The pod's shell does not say how much it sends.")
    return int(text)


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
