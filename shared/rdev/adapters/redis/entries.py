"""Keys and entries of the event streams, as Redis holds them."""

from collections.abc import Iterable, Mapping

from rdev.domain.events import OUTPUT, STDERR, STDOUT, Entry, EntryId, Notice

Raw = tuple[bytes, Mapping[bytes, bytes]]

FLAGS = {STDOUT: "o", STDERR: "e"}
_STREAMS = {b"o": STDOUT, b"e": STDERR}


def project_key(project_id: str) -> str:
    """The braces are Redis's hash tag: a project's keys lie in one slot."""
    return f"rdev:{{{project_id}}}:events"


def command_key(project_id: str, command_id: str) -> str:
    return f"rdev:{{{project_id}}}:{command_id}"


def entries(raw: Iterable[Raw]) -> list[Entry]:
    """Entries of a command's stream."""
    return [
        Entry(
            EntryId.of(entry_id),
            fields.get(b"t", OUTPUT.encode()).decode(),
            fields[b"d"],
            _STREAMS.get(fields.get(b"s", b""), ""),
        )
        for entry_id, fields in raw
    ]


def notices(raw: Iterable[Raw]) -> list[Notice]:
    """Entries of a project's stream."""
    return [
        Notice(
            EntryId.of(entry_id),
            EntryId.of(fields[b"p"]),
            fields[b"c"].decode(),
            EntryId.of(fields[b"i"]),
            fields[b"t"].decode(),
            fields.get(b"d", b""),
        )
        for entry_id, fields in raw
    ]
