"""Plain HTTP for tests: one connection a request, nothing normalised, nothing tried again."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from typing import Any

from sse_reader import SseReader

ENOUGH_S = 60.0
SECRETS: set[bytes] = set()
"""What was given away in this run and may stand in no log (see secrets_watch.py)."""
_SECRET = re.compile(
    rb'(?<=")(?:rdev_[A-Za-z0-9]{20,}|whsec_[A-Za-z0-9+/=]{20,})(?=")|(?<="ticket": ")[^"]{16,}'
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def error(self) -> Any:
        return self.json["error"]


class Http:
    """Requests with one key (or none)."""

    def __init__(
        self, port: int, key: str | None = None, *, key_id: str = "", host: str = "127.0.0.1"
    ) -> None:
        self.host = host
        self.port = port
        self.secret = key
        self.key_id = key_id

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`path` goes out as it is. An iterable body is sent chunked."""
        connection = HTTPConnection(self.host, self.port, timeout=ENOUGH_S)
        try:
            connection.request(method, path, body=body, headers=self._headers(headers))
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
            SECRETS.update(_SECRET.findall(answer.body))
            return answer
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=_named(headers))

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)

    def post(self, path: str, fields: Any = None, **headers: str) -> Answer:
        """`fields` as JSON; a header's name is given with underscores."""
        given = {"Content-Type": "application/json", **_named(headers)}
        SECRETS.update(_marked(fields))
        return self.request("POST", path, json.dumps(fields or {}).encode(), given)

    def shell(self, project: str, command: str, **fields: Any) -> Any:
        """Queue a shell command: its record."""
        answer = self.post(f"/projects/{project}/shell", {"command": command, **fields})
        assert answer.status == 202, answer.body
        return answer.data

    def finished(self, project: str, command: str, kind: str = "shell", **fields: Any) -> Any:
        """The record of a command that was waited for."""
        named = {"shell": {"command": command}}.get(kind, {})
        answer = self.post(f"/projects/{project}/{kind}", {**named, **fields}, prefer="wait=50")
        assert answer.status == 200, answer.body
        return answer.data

    def record(self, project: str, command_id: str) -> Any:
        return self.get(f"/projects/{project}/commands/{command_id}").data

    def output(self, project: str, command_id: str, stream: str = "stdout") -> bytes:
        answer = self.get(f"/projects/{project}/commands/{command_id}/output?stream={stream}")
        assert answer.status == 200, answer.body
        return answer.body

    def events(
        self,
        project: str,
        stream_id: str | None = None,
        *,
        last_id: str | None = None,
        receive_buffer: int | None = None,
    ) -> SseReader:
        """An open stream; close it, or use it as a context manager."""
        path = f"/projects/{project}/events" + (f"?stream_id={stream_id}" if stream_id else "")
        extra = {"Last-Event-ID": last_id} if last_id else {}
        headers = self._headers(extra)
        return SseReader(self.port, path, headers, receive_buffer=receive_buffer, host=self.host)

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        own = {"X-API-Key": self.secret} if self.secret is not None else {}
        return {**own, **(more or {})}


def as_it_ended(record: dict[str, Any]) -> dict[str, Any]:
    """A command's record but for its timings: being archived comes after its end."""
    return {name: value for name, value in record.items() if name != "timings"}


def _marked(fields: Any) -> Iterator[bytes]:
    """The values of env and stdin that have `secret` in them."""
    if isinstance(fields, dict):
        env = fields.get("env")
        values = [fields.get("stdin"), *(env.values() if isinstance(env, dict) else ())]
        for value in values:
            if isinstance(value, str) and "secret" in value.lower():
                yield value.encode(errors="surrogatepass")


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
