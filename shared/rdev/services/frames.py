"""A project's notices as the events that a reader gets: pointers resolved, bytes encoded."""

from collections.abc import Callable, Mapping, Sequence

from rdev.domain.events import Entry, EntryId, Notice, gap, render
from rdev.ports import ProjectFeed, metrics

Encode = Callable[[EntryId, str, bytes], bytes]
"""(id, type, JSON) -> the bytes on the wire."""

LookUp = Callable[[str, str, Sequence[EntryId]], Mapping[EntryId, Entry]]
"""(project, command, ids) -> those entries that are found."""

PAGE = 128
"""Entries of a command read at once: 4 MB at most."""


class Frames:
    """May be used by any thread."""

    def __init__(self, feed: ProjectFeed, encode: Encode) -> None:
        self._feed = feed
        self._encode = encode

    def of(
        self,
        project_id: str,
        notices: Sequence[Notice],
        fetched: dict[tuple[str, EntryId], Entry] | None = None,
        *,
        elsewhere: LookUp | None = None,
    ) -> list[bytes]:
        """Notices encoded for the project's stream, pointers resolved; gaps where their bytes
        are gone from Redis and `elsewhere`."""
        entries = dict(fetched or {})
        pointers = {(notice.command_id, notice.entry_id) for notice in notices if not notice.data}
        entries.update(self._look_up(project_id, pointers - entries.keys()))
        if elsewhere is not None and (missing := pointers - entries.keys()):
            for command_id, ids in _by_command(missing).items():
                found = elsewhere(project_id, command_id, ids)
                entries.update(((command_id, entry_id), e) for entry_id, e in found.items())
        return [self._frame(notice, entries) for notice in notices]

    def _look_up(
        self, project_id: str, wanted: set[tuple[str, EntryId]]
    ) -> dict[tuple[str, EntryId], Entry]:
        ranges = []
        for command_id, ids in _by_command(wanted).items():
            first = min(ids)
            # XRANGE after the id just below the first: ranges are open at their lower end.
            below = EntryId(first.major, first.minor - 1) if first.minor else first
            low = below if below != first else EntryId(first.major - 1, 2**63 - 1)
            ranges.append((project_id, command_id, low, max(ids)))
        pages = self._feed.entries(ranges, count=max(PAGE, 2 * len(wanted)))
        return {
            (command_id, entry.id): entry
            for (_, command_id, _, _), page in zip(ranges, pages, strict=True)
            for entry in page
        }

    def _frame(self, notice: Notice, entries: dict[tuple[str, EntryId], Entry]) -> bytes:
        if notice.data:
            return self._encode(notice.id, notice.type, notice.data)
        entry = entries.get((notice.command_id, notice.entry_id))
        if entry is None:
            metrics.STREAM_GAPS.add("project", "trimmed")
            hole = gap(notice.command_id, notice.previous, notice.id, "trimmed")
            return self._encode(notice.id, hole.type, hole.data)
        return self._encode(notice.id, entry.type, render(entry, notice.command_id))


def _by_command(pointers: set[tuple[str, EntryId]]) -> dict[str, list[EntryId]]:
    found: dict[str, list[EntryId]] = {}
    for command_id, entry_id in pointers:
        found.setdefault(command_id, []).append(entry_id)
    return found
