"""Event streams that outlive their connections: each event once, in order, to the end."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from httpx_sse import EventSource

from rdev.client.errors import ClientError, NotRdev, ServerError, StreamStalled
from rdev.client.events import Event, Seam, StateChange, parse
from rdev.client.transport import Transport, backoff_s, is_passing

if TYPE_CHECKING:
    import httpx

_NO_CONTENT = 204
_SETTLED_S = 5.0  # a connection that lived this long was a real one


def follow(
    transport: Transport, project: str, stream_id: str | None, after: str | None
) -> Iterator[Event]:
    """The events of a project, or of one command until its end.

    Reconnects as often as it takes, from the last event seen. Raises StreamStalled after
    `Patience.stalled_s` without progress, and ApiError where the server refuses for good.
    """
    return _Follower(transport, project, stream_id, after).events()


class _Follower:
    def __init__(
        self, transport: Transport, project: str, stream_id: str | None, after: str | None
    ) -> None:
        self._transport = transport
        self._path = f"/projects/{project}/events"
        self._stream_id = stream_id
        self._last_id = after
        self._seam = Seam(from_start=stream_id is not None and after in (None, "0"))
        self._ended = False
        self._failures = 0
        self._progress_at = time.monotonic()

    def events(self) -> Iterator[Event]:
        while True:
            connected_at = time.monotonic()
            failure: ClientError | None = None
            try:
                yield from self._one_connection()
            except ClientError as exc:
                if not _worth_another(exc):
                    raise
                failure = exc
            if self._ended:
                return
            if time.monotonic() - connected_at > _SETTLED_S and failure is None:
                self._progressed()
            self._wait_or_give_up(failure)

    def _one_connection(self) -> Iterator[Event]:
        params = {"stream_id": self._stream_id} if self._stream_id else {}
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        with self._transport.stream(self._path, params, headers) as response:
            if response.status_code == _NO_CONTENT:
                self._ended = True
                return
            yield from self._messages(response)

    def _messages(self, response: "httpx.Response") -> Iterator[Event]:
        if "text/event-stream" not in response.headers.get("content-type", ""):
            raise NotRdev(f"{self._path} did not answer with an event stream")
        for message in EventSource(response).iter_sse():
            if not message.data:  # `retry:` alone, or a heartbeat after an id
                continue
            event = parse(message.id, message.event, message.data)
            joined = self._seam.join(event)
            # Before it is handed on: a caller who stops here has seen it.
            self._last_id = event.id or self._last_id
            self._progressed()
            yield from joined
            if self._is_end(event):
                self._ended = True
                return

    def _is_end(self, event: Event) -> bool:
        return (
            isinstance(event, StateChange)
            and event.finished
            and self._stream_id is not None
            and event.command.id == self._stream_id
        )

    def _progressed(self) -> None:
        self._failures = 0
        self._progress_at = time.monotonic()

    def _wait_or_give_up(self, failure: ClientError | None) -> None:
        delay_s = backoff_s(self._failures, failure)
        quiet_s = time.monotonic() + delay_s - self._progress_at
        if quiet_s > self._transport.patience.stalled_s:
            why = f": {failure}" if failure else ""
            raise StreamStalled(
                f"the event stream made no progress for {quiet_s:.0f} s{why}", self._last_id
            )
        self._failures += 1
        time.sleep(delay_s)


def _worth_another(exc: ClientError) -> bool:
    # Also a plain 500: a stream is worth more patience than a single request.
    return is_passing(exc) or isinstance(exc, ServerError)
