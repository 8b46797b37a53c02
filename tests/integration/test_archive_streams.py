"""Streams that lie partly in Redis and partly in the archive, with Redis losing its data, runners
archiving at once, and readers that come back."""

import base64
import json
import shutil
from contextlib import contextmanager
from itertools import pairwise

import pytest
from archiving import ENOUGH_S, as_line, collect, lines, text, types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdev.adapters.archive.objects import ObjectArchive
from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.feed import Feed
from rdev.adapters.redis.streams import Streams
from rdev.domain.commands import Position
from rdev.domain.events import (
    FINISHED,
    GAP,
    OUTPUT,
    QUEUED,
    START,
    STARTED,
    STDERR,
    STDOUT,
    Chunk,
    EntryId,
)
from rdev.errors import Gone, StoreUnavailable
from rdev.services.events import Events
from rdev.services.hub import Hub
from rdev.services.trails import Sizes, Trail

PLACE = ("demo", "cmd-1")


@pytest.fixture
def client(redis_url):
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def streams(client):
    return Streams(client)


@pytest.fixture
def archive(tmp_path):
    return ObjectArchive(str(tmp_path / "archive"))


@contextmanager
def running(redis_url, client, streams, archive, **options):
    hub = Hub(Feed(client, connect_blocking(redis_url, block_s=1)), as_line, tick_s=0.1)
    try:
        yield Events(hub, streams, archive=archive, **options)
    finally:
        hub.close()


@pytest.fixture
def events(redis_url, client, streams, archive):
    with running(redis_url, client, streams, archive) as events:
        yield events


def trail(streams, archive, segment_bytes=10, kept_bytes=5):
    sizes = Sizes(segment_bytes, kept_bytes, few=1, many=2)
    return Trail(streams, archive, PLACE, sizes=sizes)


def write(streams, data, size=7, *, finish=True):
    """Alternately to stdout and stderr."""
    streams.announce(*PLACE, QUEUED, {})
    streams.announce(*PLACE, STARTED, {})
    at = Position()
    for begin in range(0, len(data), size):
        stream = STDOUT if (begin // size) % 2 else STDERR
        at = streams.append(*PLACE, stream, at, data[begin : begin + size])
    if finish:
        streams.announce(*PLACE, FINISHED, {}, at)
    return at


def archive_all(streams, archive):
    mine = trail(streams, archive)
    while mine.store():
        mine.trim()
    return mine


def test_a_stream_archived_while_it_grows_is_trimmed_and_read_as_if_it_were_not(
    streams, archive, events
):
    data = bytes(range(97, 123)) * 4
    write(streams, data)
    before = types_and_bytes(read(events))
    archived = archive_all(streams, archive)
    assert archived.complete
    assert len(archive.segments(*PLACE)) > 5
    assert streams.read(*PLACE, START)[0].start != Position()
    assert types_and_bytes(read(events)) == before
    for start in range(0, 50, 7):
        for stream in (STDOUT, STDERR, "all"):
            whole = b"".join(events.output(*PLACE, stream))
            stop = min(start + 9, len(whole))
            assert b"".join(events.output(*PLACE, stream, start, stop)) == whole[start:stop]


def read(events, after=None):
    with events.command_reader(*PLACE, after) as reader:
        return collect(reader)


def types_and_bytes(frames):
    return [(e.type, e.id, e.data) for e in frames]


def test_every_id_resumes_exactly_after_itself(streams, archive, events, client):
    write(streams, b"abcdefgh" * 9)
    whole = read(events)
    archive_all(streams, archive)
    for lost in (False, True):
        if lost:
            client.flushall()
        for index, event in enumerate(whole[:-1]):
            assert read(events, str(event.id)) == whole[index + 1 :]
        assert events.command_reader(*PLACE, str(whole[-1].id)) is None


def test_an_end_that_is_stored_late_is_a_segment_of_its_own(streams, archive, events, client):
    at = write(streams, b"abcdefgh" * 4, finish=False)
    archive_all(streams, archive)
    streams.announce(*PLACE, FINISHED, {}, at)
    archive_all(streams, archive)
    last = archive.segments(*PLACE)[-1]
    assert (last.start, last.end, last.finished) == (at, at, True)
    client.flushall()
    assert types(read(events))[-2:] == [OUTPUT, FINISHED]


def test_a_command_without_output_is_one_object(streams, archive, events, client):
    write(streams, b"")
    archive_all(streams, archive)
    assert [n.finished for n in archive.segments(*PLACE)] == [True]
    client.flushall()
    assert types(read(events)) == [QUEUED, STARTED, FINISHED]
    assert b"".join(events.output(*PLACE, "all")) == b""


def test_a_takeover_goes_on_where_the_archive_ends(streams, archive, events, client):
    at = write(streams, b"abcdefgh" * 6, finish=False)
    first = trail(streams, archive)
    first.store()
    first.store()
    stored = archive.segments(*PLACE)
    streams.announce(*PLACE, FINISHED, {}, at)
    archive_all(streams, archive)
    names = archive.segments(*PLACE)
    assert [n for n in names if n in stored] == stored
    assert all(one.end == other.start for one, other in pairwise(names))
    # The first wakes up late, and stores some of it once more.
    while first.store():
        first.trim()
    client.flushall()
    assert GAP not in types(read(events))


def test_nothing_is_trimmed_from_a_stream_that_is_not_the_one_archived(streams, client):
    """Its entries may lie below the id, and hold bytes that are stored nowhere."""
    streams.append(*PLACE, STDERR, Position(), b"only here")
    streams.append(*PLACE, STDOUT, Position(0, 9), b"x" * 20)
    streams.trim_to(*PLACE, EntryId(12, 0))
    assert len(streams.read(*PLACE, START)) == 2
    streams.trim_to(*PLACE, EntryId(21, 9))
    assert [entry.data for entry in streams.read(*PLACE, START)] == [b"x" * 20]


def test_a_hole_in_the_archive_is_a_gap_and_what_follows_is_read(
    streams, archive, events, client, tmp_path
):
    data = b"".join(b"%06d\n" % n for n in range(20))
    at = Position()
    for begin in range(0, len(data), 7):
        at = streams.append(*PLACE, STDOUT, at, data[begin : begin + 7])
    streams.announce(*PLACE, FINISHED, {}, at)
    archive_all(streams, archive)
    client.flushall()
    stored = sorted((tmp_path / "archive").rglob("*.zst"))
    name = archive.segments(*PLACE)[3]
    stored[3].unlink()
    got = read(events)
    assert types(got).count(GAP) == 1
    (hole,) = (json.loads(e.data) for e in got if e.type == GAP)
    assert (hole["from"], hole["to"]) == (f"{name.start.stdout + 1}-0", f"{name.end.stdout + 1}-0")
    with pytest.raises(Gone):
        b"".join(events.output(*PLACE, STDOUT))
    rest = b"".join(events.output(*PLACE, STDOUT, name.end.stdout))
    assert rest == data[name.end.stdout :]


def test_without_its_archive_what_redis_holds_is_served_and_the_rest_is_unavailable(
    redis_url, client, streams, archive, tmp_path
):
    write(streams, b"abcdefgh" * 9)
    archive_all(streams, archive)
    first = streams.read(*PLACE, START)[0]
    nowhere = ObjectArchive(
        "s3://bucket",
        timeout_s=1,
        options={"endpoint": "http://127.0.0.1:9", "access_key_id": "k", "secret_access_key": "s"},
    )
    with running(redis_url, client, streams, nowhere) as events:
        with events.command_reader(*PLACE, str(first.id)) as reader:
            assert GAP not in types(collect(reader))
        with pytest.raises(StoreUnavailable):
            events.output(*PLACE, "all")
        with events.command_reader(*PLACE) as reader:
            assert reader.next(0.1) is None  # it waits: no gap for what may come back


def bytes_of(frames):
    got = {STDOUT: b"", STDERR: b""}
    for entry in frames:
        if entry.type == OUTPUT:
            body = json.loads(entry.data)
            assert body["offset"] == len(got[body["stream"]])
            raw = body["data"].encode()
            got[body["stream"]] += base64.b64decode(raw) if "encoding" in body else raw
    return got


@given(out=st.binary(max_size=40), err=st.binary(max_size=40), data=st.data())
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_archivers_losses_and_reconnects_give_each_byte_once(  # noqa: PLR0912, PLR0915 - a story
    redis_url, client, streams, archive, tmp_path, out, err, data
):
    """Given runners that cut as they like and come late, two that archive and trim at once, and a
    Redis that loses everything now and then; when a client reads, breaks off and resumes at
    random; then it has each byte once, in order, no gap, and one end; and so has whoever reads
    the archive alone."""
    client.flushall()
    shutil.rmtree(tmp_path / "archive", ignore_errors=True)
    whole = {STDOUT: out, STDERR: err}
    totals = Position(len(out), len(err))
    seen, got = None, []
    trails = [trail(streams, archive, 6, 3), trail(streams, archive, 9, 0)]

    with running(redis_url, client, streams, archive) as events:

        def append(at):
            stream = data.draw(st.sampled_from([STDOUT, STDERR]))
            begin = at.stdout if stream == STDOUT else at.stderr
            size = data.draw(st.integers(1, 8))
            return Chunk(stream, at, whole[stream][begin : begin + size])

        def take(reader):
            nonlocal seen
            while chunk := reader.next(0):
                frames = lines(chunk)
                got.extend(frames)
                seen = str(frames[-1].id)

        reader = events.command_reader(*PLACE)
        stale = Position()
        moves = ["append", "append", "append", "append", "late", "read", "reconnect", "lose"]
        moves += ["archive", "archive", "trim", "takeover"]
        for _ in range(data.draw(st.integers(0, 40))):
            number = data.draw(st.integers(0, 1))
            match data.draw(st.sampled_from(moves)):
                case "append":
                    streams.append_all(*PLACE, [append(streams.tail(*PLACE).position)])
                case "late":
                    streams.append_all(*PLACE, [append(stale)])
                    stale = streams.tail(*PLACE).position
                case "read":
                    take(reader)
                case "reconnect":
                    reader.close()
                    reader = events.command_reader(*PLACE, seen)
                case "lose":
                    client.flushall()
                case "archive":
                    trails[number].store()
                case "trim":
                    trails[number].trim()
                case "takeover":
                    trails[number] = trail(streams, archive, 6, 3)
        while (at := streams.tail(*PLACE).position) != totals:
            stream = STDOUT if at.stdout < len(out) else STDERR
            rest = out[at.stdout :] if stream == STDOUT else err[at.stderr :]
            streams.append(*PLACE, stream, at, rest)
        streams.announce(*PLACE, FINISHED, {}, totals)
        while trails[0].store():
            trails[0].trim()
        assert trails[0].complete
        while not reader.ended:
            chunk = reader.next(ENOUGH_S)
            assert chunk is not None
            got.extend(lines(chunk))
        reader.close()
        client.flushall()
        alone = read(events)
        ranges = b"".join(events.output(*PLACE, STDERR, 1)) if err else b""
    for frames in (got, alone):
        assert bytes_of(frames) == whole
        assert types(frames).count(FINISHED) == 1
        assert GAP not in types(frames)
    assert ranges == err[1:]
    assert text(alone[:0]) == b""
