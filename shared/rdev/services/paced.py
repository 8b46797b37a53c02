"""The streams as a runner writes them: the archiver hears of every append."""

from collections.abc import Callable, Sequence

from rdev.domain.commands import Position
from rdev.domain.events import OUTPUT, Chunk
from rdev.ports import EventStreams

Wrote = Callable[[tuple[str, str], Position], None]
"""((project, command), where its stream ends now)."""


class PacedStreams:
    """Port `rdev.ports.EventStreams`, as the streams given; `wrote` may take its time."""

    def __init__(self, streams: EventStreams, wrote: Wrote) -> None:
        self._streams = streams
        self._wrote = wrote
        self.announce = streams.announce
        self.tail = streams.tail
        self.read = streams.read
        self.trim_to = streams.trim_to
        self.forget = streams.forget

    def append(
        self,
        project_id: str,
        command_id: str,
        stream: str,
        at: Position,
        data: bytes,
        *,
        type: str = OUTPUT,  # noqa: A002 - the event's type
    ) -> Position:
        return self.append_all(project_id, command_id, [Chunk(stream, at, data, type)])

    def append_all(
        self, project_id: str, command_id: str, chunks: Sequence[Chunk], *, begun: bool = False
    ) -> Position:
        position = self._streams.append_all(project_id, command_id, chunks, begun=begun)
        self._wrote((project_id, command_id), position)
        return position
