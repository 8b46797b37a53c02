"""The Python client: rdev's API as methods. Synchronous; safe to share between threads."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import quote

from rdev.client import output as _output
from rdev.client import streams
from rdev.client.audit import Audit
from rdev.client.events import Event
from rdev.client.records import Command, CommandBody, Key, KeyBody, Project
from rdev.client.transport import Patience, Transport
from rdev.client.webhooks import Webhooks


class Client:
    """One server, as one key sees it.

    Every method raises only ClientError and its children. What can be repeated without harm is
    repeated for a while where the server or the network fails; what cannot, is not.
    """

    def __init__(self, base_url: str, api_key: str, *, patience: Patience | None = None) -> None:
        self._transport = Transport(base_url, api_key, patience or Patience())
        self.webhooks = Webhooks(self._call, self._pages)
        self.audit = Audit(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.base_url!r})"

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def close(self) -> None:
        """Close the connections. A client that was closed is done."""
        self._transport.close()

    def projects(self) -> list[Project]:
        """All projects that the key may see."""
        return [Project.parse(raw) for raw in self._pages("/projects", {})]

    def project(self, project: str) -> Project:
        return Project.parse(self._get(_path("projects", project)))

    def create_project(
        self,
        project: str,
        git_url: str | None = None,
        env: Mapping[str, str] | None = None,
        *,
        template: str | None = None,
    ) -> Project:
        body = _given({"id": project, "git_url": git_url, "env": env, "template": template})
        return Project.parse(self._call("POST", "/projects", body=body, repeatable=False))

    def start_project(self, project: str) -> Project:
        """Have its workspace started; running already is no error."""
        return Project.parse(
            self._call("POST", _path("projects", project, "start"), repeatable=True)
        )

    def stop_project(self, project: str) -> Project:
        """Have its workspace go to zero, its files kept; the next command starts it again. Raises
        Conflict while a command of it waits or runs, and where it cannot be stopped."""
        return Project.parse(
            self._call("POST", _path("projects", project, "stop"), repeatable=True)
        )

    def delete_project(self, project: str) -> None:
        """Delete a project, its workspace and all its files."""
        self._call("DELETE", _path("projects", project), repeatable=False)

    def keys(self) -> list[Key]:
        return [Key.parse(raw) for raw in self._pages("/keys", {})]

    def create_key(self, name: str, scopes: Sequence[str], **more: Unpack[KeyBody]) -> Key:
        """A new key. Its `secret` is in this answer and can never be had again."""
        body = {"name": name, "scopes": list(scopes), **more}
        return Key.parse(self._call("POST", "/keys", body=body, repeatable=False))

    def key(self, key_id: str) -> Key:
        return Key.parse(self._call("GET", _path("keys", key_id), repeatable=True))

    def rotate_key(self, key_id: str, *, overlap_s: int = 86_400) -> Key:
        """Give a key another secret, which is in this answer and can never be had again. The one
        of now stays good for `overlap_s` seconds."""
        body = {"overlap_s": overlap_s}
        path = f"{_path('keys', key_id)}/rotate"
        return Key.parse(self._call("POST", path, body=body, repeatable=False))

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key. It is refused from the next request on."""
        self._call("DELETE", _path("keys", key_id), repeatable=True)

    def submit(
        self,
        project: str,
        kind: str,
        *,
        idempotency_key: str | None = None,
        **body: Unpack[CommandBody],
    ) -> Command:
        """Queue a command of a kind (shell, git, claude) and return at once.

        The command starts once, however often the request had to be sent: each submit carries an
        idempotency key. Give your own to have that hold across processes too (for 24 hours).
        """
        raw = self._call(
            "POST",
            _path("projects", project, kind),
            body=body,
            headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
            repeatable=True,
        )
        return Command.parse(raw, project)

    def command(self, project: str, command_id: str) -> Command:
        return Command.parse(self._get(_command_path(project, command_id)), project)

    def commands(
        self,
        project: str,
        *,
        status: str | None = None,
        kind: str | None = None,
        key: str | None = None,
        since: str | None = None,
    ) -> Iterator[Command]:
        """The project's commands, page after page as they are read."""
        params = _given({"status": status, "kind": kind, "key": key, "since": since})
        for raw in self._pages(_path("projects", project, "commands"), params):
            yield Command.parse(raw, project)

    def cancel(self, project: str, command_id: str) -> Command:
        """Ask for a command's end. Cancelling one that has ended, or twice, is no error; follow
        its events to see what came of it."""
        path = _command_path(project, command_id) + "/cancel"
        return Command.parse(self._call("POST", path, repeatable=True), project)

    def send_input(
        self, project: str, command_id: str, data: bytes, *, offset: int, close: bool = False
    ) -> int:
        """Send bytes to the stdin of a command that was submitted with `stdin_open`, and end it
        with `close`. `offset` counts what was sent before, the body's `stdin` included; so each
        byte goes in once, however often the request had to be sent. Returns the next offset.

        Raises TooManyRequests where the command has not read what it has for a while, and
        Conflict where it takes no input (any more)."""
        path = _command_path(project, command_id) + "/input"
        params = {"offset": offset, "close": "true" if close else "false"}
        envelope = self._transport.call("POST", path, content=data, params=params, repeatable=True)
        return int(envelope["data"]["offset"])

    def output(self, project: str, command_id: str, stream: str = "all") -> Iterator[bytes]:
        """What the command has written so far: stdout, stderr, or all. Raw bytes, in pieces.

        A broken connection is resumed where it broke, except with `all`."""
        return _output.read(self._transport, _command_path(project, command_id), stream)

    def output_events(self, project: str, command_id: str) -> Iterator[Event]:
        """What the command has written so far, both streams as they were interleaved; without
        ids. Ends there, also where the command goes on."""
        return _output.entries(self._transport, _command_path(project, command_id))

    def events(
        self, project: str, stream_id: str | None = None, after: str | None = None
    ) -> Iterator[Event]:
        """The project's events as they happen; or with `stream_id` one command's, from the
        beginning (or after an event id) to its command.finished, where the iterator ends.

        Reconnects by itself; nothing is dropped, nothing comes twice, and what the server can
        no longer give is a Gap."""
        return streams.follow(self._transport, quote(project, safe=""), stream_id, after)

    def _get(self, path: str) -> dict[str, Any]:
        return self._call("GET", path, repeatable=True)

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool,
    ) -> dict[str, Any]:
        envelope = self._transport.call(
            method, path, body=body, headers=headers, repeatable=repeatable
        )
        data: dict[str, Any] = envelope.get("data") or {}
        return data

    def _pages(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            query = {**params, "cursor": cursor} if cursor else params
            envelope = self._transport.call("GET", path, params=query, repeatable=True)
            yield from envelope.get("data") or ()
            cursor = (envelope.get("meta") or {}).get("next_cursor")
            if not cursor:
                return


def _path(*parts: str) -> str:
    # Quoted: a name from a user must not become another path.
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _command_path(project: str, command_id: str) -> str:
    return _path("projects", project, "commands", command_id)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
