"""`rdev run`: a command elsewhere that behaves like one here."""

import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from rdev.cli import options, show
from rdev.cli.connection import connected, explain
from rdev.cli.outcome import INTERRUPTED, exit_code_of, remark_on, write_event
from rdev.cli.stdin import forward, forward_beside
from rdev.cli.terminal import Interrupts, complain, die_of_broken_pipe, leave
from rdev.domain.commands import Priority

if TYPE_CHECKING:
    from rdev.client import Client, Command, CommandBody

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="-- COMMAND...",
        help="One word is a shell line; several are run as they are typed.",
    ),
]
Env = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", metavar="K=V", help="A variable; K alone takes yours. Repeat."),
]
Cwd = Annotated[str | None, typer.Option("--cwd", help="A folder inside the workspace.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="End it then.")
]
Stdin = Annotated[bool, typer.Option("--stdin", "-i", help="Send it your stdin as it comes.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Print its id, and do not wait.")]


def run(
    project: str,
    words: Words,
    *,
    env: Env = None,
    cwd: Cwd = None,
    timeout: Timeout = None,
    priority: Priority | None = None,
    stdin: Stdin = False,
    detach: Detach = False,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Run a command in a project, here: its output, its exit code, and Ctrl-C cancels it."""
    body: CommandBody = {"command": _text("the command", shell_line(words))}
    if env:
        body["env"] = variables(env)
    if cwd is not None:
        body["cwd"] = _text("--cwd", cwd)
    if timeout is not None:
        body["timeout_s"] = timeout
    if priority is not None:
        body["priority"] = priority.value
    if stdin:
        body["stdin_open"] = True
    with connected(server, key_file) as client:
        if detach:
            command = client.submit(project, "shell", **body)
            if stdin:
                forward(client, project, command)
            _detach(command, as_json=as_json)
            return
        command = Foreground(client, project, as_json=as_json).run(body)
    remark = remark_on(command)
    if remark:
        complain(remark)
    raise typer.Exit(exit_code_of(command))


class Foreground:
    """One command that this process stands for: it ends with it, and ends it when told to."""

    def __init__(self, client: "Client", project: str, *, as_json: bool) -> None:
        self._client = client
        self._project = project
        self._as_json = as_json
        self._command: Command | None = None
        self._cancelled = False

    def run(self, body: "CommandBody") -> "Command":
        """Submit it, stream it, and return its record at the end."""
        with Interrupts(self._cancel, self._leave), self._pointing_back():
            self._command = command = self._client.submit(self._project, "shell", **body)
            if self._cancelled:  # before there was anything to cancel
                self._start_cancelling(command)
            if body.get("stdin_open"):
                forward_beside(self._client, self._project, command)
            return self._stream(command)

    def _stream(self, command: "Command") -> "Command":
        from rdev.client import StateChange

        end: Command | None = None
        for event in self._client.events(self._project, command.id):
            if isinstance(event, StateChange) and event.finished:
                end = event.command
            try:
                write_event(event, as_json=self._as_json)
            except BrokenPipeError:
                self._broken_pipe(command, end)
        return end or self._client.command(self._project, command.id)

    def _broken_pipe(self, command: "Command", end: "Command | None") -> NoReturn:
        """Nobody reads its output (`| head`). Here SIGPIPE would end it; so it is cancelled."""
        if end is None:
            self._ask_to_cancel(command)
        die_of_broken_pipe()

    def _cancel(self) -> None:
        self._cancelled = True
        complain("cancelling; once more leaves at once")
        if self._command is not None:
            self._start_cancelling(self._command)

    def _start_cancelling(self, command: "Command") -> None:
        # In a thread: the output goes on meanwhile, to the command's last word.
        threading.Thread(target=self._ask_to_cancel, args=(command,), daemon=True).start()

    def _ask_to_cancel(self, command: "Command") -> None:
        from rdev.client import ClientError

        try:
            self._client.cancel(self._project, command.id)
        except ClientError as exc:
            complain(f"{command.id} could not be cancelled: {explain(exc)}")

    def _leave(self) -> None:
        if self._command is None:
            complain("left; the command may have been accepted all the same")
        else:
            complain(f"left; {self._way_back(self._command)}")
        leave(INTERRUPTED)

    @contextmanager
    def _pointing_back(self) -> Iterator[None]:
        """Where this fails once the command is accepted, say that it goes on, and where."""
        from rdev.client import ClientError

        try:
            yield
        except ClientError:
            if self._command is not None:
                complain(f"the command goes on; {self._way_back(self._command)}")
            raise

    def _way_back(self, command: "Command") -> str:
        return f"`rdev logs -f {self._project}/{command.id}` shows it again"


def shell_line(words: list[str]) -> str:
    """One word is a shell line as it is; several are quoted, so that they arrive as typed."""
    return words[0] if len(words) == 1 else shlex.join(words)


def variables(given: list[str]) -> dict[str, str]:
    """K=V as it is; K alone with this process's value. Raises a usage error where it has none."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or (not equals and name not in os.environ):
            raise typer.BadParameter(f"{each!r} is neither K=V nor a variable that is set here")
        found[name] = _text(f"--env {name}", value if equals else os.environ[name])
    return found


def _text(what: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{what} is not valid UTF-8") from None
    return value


def _detach(command: "Command", *, as_json: bool) -> None:
    if as_json:
        show.as_json(command.raw)
    else:
        print(command.id)
