"""The command streams on a real Valkey: appended by many, lost, rebuilt, read back."""

import threading
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    Announced,
    Chunk,
    Entry,
    EntryId,
)
from rdev.errors import Gone, InvalidRequest, StoreUnavailable
from rdev.services.ends import End
from rdev.services.events import Events
from rdev.services.hub import Hub

PROJECT, COMMAND = "demo", "cmd-1"
PLACE = (PROJECT, COMMAND)
ENOUGH_S = 20.0


@pytest.fixture
def client(redis_url):
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def streams(client):
    return Streams(client)


def as_line(entry_id, event_type, data):
    """Frames that a test can read back."""
    return repr((tuple(entry_id), event_type, data)).encode() + b"\n"


def lines(chunk):
    found = (eval(line) for line in chunk.splitlines())  # of our own making
    return [Entry(EntryId(*i), event_type, data) for i, event_type, data in found]


@contextmanager
def running(redis_url, client, streams, **options):
    hub = Hub(Feed(client, connect_blocking(redis_url, block_s=1)), as_line, tick_s=0.2)
    try:
        yield Events(hub, streams, **options)
    finally:
        hub.close()


@pytest.fixture
def events(redis_url, client, streams):
    with running(redis_url, client, streams) as events:
        yield events


def collect(reader, *, until=FINISHED):
    """Everything up to an event of this type."""
    got = []
    while not any(entry.type == until for entry in got):
        chunk = reader.next(ENOUGH_S)
        assert chunk is not None, f"no {until} in time after {got}"
        got += lines(chunk)
    return got


def text(entries, stream=STDOUT):
    """The output in these frames, checked to lie end to end."""
    import json

    data = ""
    for entry in entries:
        if entry.type == OUTPUT and (body := json.loads(entry.data))["stream"] == stream:
            assert body["offset"] == len(data)
            data += body["data"]
    return data


def run(streams, out=b"hello", *, place=PLACE):
    streams.announce(*place, QUEUED, {})
    streams.announce(*place, STARTED, {})
    end = streams.append(*place, STDOUT, Position(), out) if out else Position()
    streams.announce(*place, FINISHED, {}, end)
    return end


# --- appending -------------------------------------------------------------------------------


def test_state_events_are_added_once_and_in_order(streams):
    assert streams.announce(*PLACE, QUEUED, {"n": 1}) is Announced.ADDED
    assert streams.announce(*PLACE, QUEUED, {"n": 2}) is Announced.REPEAT
    assert streams.announce(*PLACE, STARTED, {}) is Announced.ADDED
    assert streams.announce(*PLACE, QUEUED, {}) is Announced.REPEAT
    assert streams.announce(*PLACE, FINISHED, {}, Position(1, 0)) is Announced.BEHIND
    assert streams.append(*PLACE, STDOUT, Position(), b"x") == Position(1, 0)
    assert streams.announce(*PLACE, STARTED, {}) is Announced.REPEAT
    assert streams.announce(*PLACE, FINISHED, {}, Position()) is Announced.BEHIND
    assert streams.announce(*PLACE, FINISHED, {}, Position(1, 0)) is Announced.ADDED
    assert streams.announce(*PLACE, FINISHED, {}, Position(1, 0)) is Announced.REPEAT
    ids = [str(entry.id) for entry in streams.read(*PLACE, START)]
    assert ids == ["0-1", "0-2", "2-0", "2-1"]


def test_a_stream_that_nobody_forgets_goes_all_the_same(streams, client):
    streams.announce(*PLACE, QUEUED, {})
    streams.append(*PLACE, STDOUT, Position(), b"out")
    streams.announce(*PLACE, FINISHED, {}, Position(3, 0))
    assert 0 < client.ttl(f"rdev:{{{PLACE[0]}}}:{PLACE[1]}") <= 30 * 86400
    streams.forget(*PLACE, after_s=900)
    assert 0 < client.ttl(f"rdev:{{{PLACE[0]}}}:{PLACE[1]}") <= 900


def test_a_command_without_output_finishes(streams):
    assert run(streams, b"") == Position()
    tail = streams.tail(*PLACE)
    assert (tail.position, tail.finished, tail.last_id) == (Position(), True, EntryId(1, 1))


def test_an_append_elsewhere_than_the_tail_changes_nothing_and_says_where_it_is(streams):
    assert streams.append(*PLACE, STDERR, Position(3, 0), b"later") == Position()
    assert streams.append(*PLACE, STDERR, Position(), b"abc") == Position(0, 3)
    assert streams.append(*PLACE, STDERR, Position(), b"abc") == Position(0, 3)
    assert streams.append(*PLACE, STDOUT, Position(0, 2), b"abc") == Position(0, 3)
    assert len(streams.read(*PLACE, START)) == 1


def test_nothing_is_appended_after_the_end(streams):
    end = run(streams)
    assert streams.append(*PLACE, STDOUT, end, b"late") == end
    assert streams.append(*PLACE, STDERR, Position(end.stdout, end.stderr + 1), b"late") == end
    assert streams.tail(*PLACE).finished


def test_the_tail_survives_trimming(streams):
    streams.append(*PLACE, STDOUT, Position(), b"one")
    streams.append(*PLACE, STDOUT, Position(3, 0), b"two")
    streams.trim_to(*PLACE, EntryId(7, 0))
    assert [entry.data for entry in streams.read(*PLACE, START)] == [b"two"]
    assert streams.tail(*PLACE).position == Position(6, 0)


def test_offsets_beyond_what_lua_prints_stay_exact(streams, client):
    far = 123_456_789_012_345
    client.xadd("rdev:{demo}:cmd-1", {"s": "o", "d": b"x"}, id=f"{far + 1}-0")
    assert streams.append(*PLACE, STDOUT, Position(far, 0), b"yz") == Position(far + 2, 0)
    assert streams.tail(*PLACE).position == Position(far + 2, 0)


def test_the_script_is_loaded_again_when_redis_forgot_it(streams, client):
    streams.append(*PLACE, STDOUT, Position(), b"a")
    client.script_flush()
    assert streams.append(*PLACE, STDOUT, Position(1, 0), b"b") == Position(2, 0)


def test_a_redis_that_is_not_there_is_store_unavailable(tmp_path):
    with connect(f"unix://{tmp_path}/none.sock") as client, pytest.raises(StoreUnavailable):
        Streams(client).tail(*PLACE)


@given(
    out=st.binary(max_size=30),
    err=st.binary(max_size=30),
    data=st.data(),
)
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_runners_and_any_losses_give_each_byte_once_to_readers_that_reconnect(
    redis_url, client, streams, out, err, data
):
    """Given several runners that cut as they like, repeat and come late, and a Redis that loses
    everything now and then; when a client reads, breaks off and resumes at random; then it has
    each byte once, in order, no gap, and one end."""
    client.flushall()
    whole = {STDOUT: out, STDERR: err}
    seen, got = None, []
    with running(redis_url, client, streams) as events:

        def append(at):
            stream = data.draw(st.sampled_from([STDOUT, STDERR]))
            begin = at.stdout if stream == STDOUT else at.stderr
            size = data.draw(st.integers(1, 12))
            return Chunk(stream, at, whole[stream][begin : begin + size])

        def read(reader):
            nonlocal seen
            while chunk := reader.next(0):
                frames = lines(chunk)
                got.extend(frames)
                seen = str(frames[-1].id)

        reader = events.command_reader(*PLACE)
        stale = Position()
        for _ in range(data.draw(st.integers(0, 25))):
            match data.draw(
                st.sampled_from(["append", "append", "append", "late", "read", "reconnect", "lose"])
            ):
                case "append":
                    streams.append_all(*PLACE, [append(streams.tail(*PLACE).position)])
                case "late":
                    streams.append_all(*PLACE, [append(stale)])
                    stale = streams.tail(*PLACE).position
                case "read":
                    read(reader)
                case "reconnect":
                    reader.close()
                    reader = events.command_reader(*PLACE, seen)
                case "lose":
                    client.flushall()
        while (at := streams.tail(*PLACE).position) != Position(len(out), len(err)):
            stream = STDOUT if at.stdout < len(out) else STDERR
            rest = out[at.stdout :] if stream == STDOUT else err[at.stderr :]
            streams.append(*PLACE, stream, at, rest)
        streams.announce(*PLACE, FINISHED, {}, Position(len(out), len(err)))
        while not reader.ended:
            chunk = reader.next(ENOUGH_S)
            assert chunk is not None
            got.extend(lines(chunk))
        reader.close()
    assert bytes_of(got) == whole
    assert [e.type for e in got].count(FINISHED) == 1
    assert GAP not in [e.type for e in got]


def bytes_of(frames):
    import base64
    import json

    got = {STDOUT: b"", STDERR: b""}
    for entry in frames:
        if entry.type == OUTPUT:
            body = json.loads(entry.data)
            assert body["offset"] == len(got[body["stream"]])
            raw = body["data"].encode()
            got[body["stream"]] += base64.b64decode(raw) if "encoding" in body else raw
    return got


# --- reading ---------------------------------------------------------------------------------


def test_history_then_live_without_a_gap(streams, events):
    streams.announce(*PLACE, QUEUED, {})
    streams.append(*PLACE, STDOUT, Position(), b"before ")
    with events.command_reader(*PLACE) as reader:
        first = lines(reader.next(ENOUGH_S))
        streams.append(*PLACE, STDOUT, Position(7, 0), b"after")
        streams.announce(*PLACE, FINISHED, {}, Position(12, 0))
        got = first + collect(reader)
        assert reader.ended
        assert reader.next(0) is None
    assert text(got) == "before after"


def test_a_client_that_saw_the_end_has_nothing_to_come_back_for(streams, events):
    run(streams)
    assert events.command_reader(*PLACE, "6-1") is None
    with events.command_reader(*PLACE, "6-0") as reader:
        assert [entry.type for entry in collect(reader)] == [FINISHED]


def test_a_client_that_saw_more_than_a_power_cut_left_is_told_the_end(redis_url, client, streams):
    def record(project_id, command_id):
        return End(Position(5, 0), b'{"status":"lost"}', expired=False)

    run(streams)
    with running(redis_url, client, streams, ended=record) as events:
        for _ in ("in Redis", "on record alone"):
            for beyond in ("9-0", "6-2"):
                with events.command_reader(*PLACE, beyond) as reader:
                    assert [entry.type for entry in collect(reader)] == [FINISHED]
            streams.delete(*PLACE)


@pytest.mark.parametrize("at_first", ["not noted", "not to be asked"])
def test_an_end_that_redis_lost_and_the_record_does_not_know_yet_is_told_later(
    redis_url, client, streams, at_first
):
    asked = []

    def record(project_id, command_id):
        asked.append(command_id)
        if len(asked) > 1:
            return End(Position(5, 0), b'{"status":"succeeded"}', expired=False)
        if at_first == "not to be asked":
            raise StoreUnavailable
        return None

    streams.append(*PLACE, STDOUT, Position(), b"hel")
    with (
        running(redis_url, client, streams, ended=record) as events,
        events.command_reader(*PLACE) as reader,
    ):
        assert [entry.type for entry in collect(reader)] == [OUTPUT, GAP, FINISHED]


def test_whether_a_command_has_ended_is_not_asked_all_the_time(redis_url, client, streams):
    asked = []
    streams.append(*PLACE, STDOUT, Position(), b"hel")
    with (
        running(redis_url, client, streams, ended=lambda *place: asked.append(place)) as events,
        events.command_reader(*PLACE) as reader,
    ):
        collect(reader, until=OUTPUT)
        for _ in range(100):
            assert reader.next(0.02) is None
    assert 1 < len(asked) < 6


def test_a_malformed_id_is_refused_naming_the_field(events):
    with pytest.raises(InvalidRequest, match="Last-Event-ID"):
        events.command_reader(*PLACE, "nonsense", field="Last-Event-ID")
    with pytest.raises(InvalidRequest, match="after"):
        events.project_reader(PROJECT, "7")


def test_trimmed_output_is_announced_as_a_gap(streams, events):
    import json

    for at in range(5):
        streams.append(*PLACE, STDOUT, Position(at, 0), b"x")
    streams.trim_to(*PLACE, EntryId(5, 0))
    streams.announce(*PLACE, FINISHED, {}, Position(5, 0))
    with events.command_reader(*PLACE, "2-0") as reader:
        got = collect(reader)
    assert [e.type for e in got] == [GAP, OUTPUT, OUTPUT, FINISHED]
    assert json.loads(got[0].data) == {
        "command_id": COMMAND,
        "from": "2-0",
        "to": "4-0",
        "reason": "trimmed",
    }


def test_a_stream_that_expired_ends_as_the_record_tells(redis_url, client, streams):
    def record(project_id, command_id):
        return End(Position(5, 0), b'{"status":"succeeded"}', expired=True)

    with running(redis_url, client, streams, ended=record) as events:
        with events.command_reader(*PLACE, "3-0") as reader:
            assert [e.type for e in collect(reader)] == [GAP, FINISHED]
        assert events.command_reader(*PLACE, "6-1") is None


def test_a_live_reader_survives_the_loss_of_all_data(streams, events, client):
    streams.announce(*PLACE, QUEUED, {})
    streams.append(*PLACE, STDOUT, Position(), b"abc")
    with events.command_reader(*PLACE) as reader:
        got = collect(reader, until=OUTPUT)
        client.flushall()
        streams.append(*PLACE, STDOUT, Position(), b"a")
        streams.append(*PLACE, STDOUT, Position(1, 0), b"bcdef")
        streams.announce(*PLACE, FINISHED, {}, Position(6, 0))
        got += collect(reader)
    assert text(got) == "abcdef"
    assert GAP not in [e.type for e in got]


def test_a_project_stream_has_state_whole_and_output_resolved(streams, events):
    with events.project_reader(PROJECT) as reader:
        run(streams)
        run(streams, b"other", place=(PROJECT, "cmd-2"))
        got = collect(reader)
        while [e.type for e in got].count(FINISHED) < 2:
            got += collect(reader)
    assert [e.type for e in got] == [QUEUED, STARTED, OUTPUT, FINISHED] * 2
    assert b'"data":"hello"' in got[2].data
    assert b'"data":"other"' in got[6].data
    with events.project_reader(PROJECT, str(got[3].id)) as resumed:
        assert collect(resumed)[0].id == got[4].id


def test_a_project_stream_without_an_id_begins_now_and_with_zero_at_what_is_kept(streams, events):
    run(streams)
    with events.project_reader(PROJECT) as live:
        assert live.next(0) is None
    with events.project_reader(PROJECT, "0") as whole:
        assert collect(whole)[0].type == QUEUED


def test_a_project_reader_whose_id_is_gone_hears_of_a_gap_first(streams, events, client):
    run(streams)
    first = client.xrange("rdev:{demo}:events", count=1)[0][0].decode()
    client.xtrim("rdev:{demo}:events", maxlen=2, approximate=False)
    with events.project_reader(PROJECT, first) as reader:
        assert [e.type for e in collect(reader)] == [GAP, OUTPUT, FINISHED]
    second = client.xrange("rdev:{demo}:events", count=1)[0][0].decode()
    client.xtrim("rdev:{demo}:events", maxlen=1, approximate=False)
    with events.project_reader(PROJECT, second) as reader:  # gone, but nothing after it is
        assert [e.type for e in collect(reader)] == [FINISHED]


def test_a_pointer_whose_bytes_are_gone_becomes_a_gap(streams, events):
    run(streams)
    streams.delete(*PLACE)
    with events.project_reader(PROJECT, "0") as reader:
        assert [e.type for e in collect(reader)] == [QUEUED, STARTED, GAP, FINISHED]


def lose_all_data(client):
    """As a store that is started anew: not within the millisecond of what it wrote last, whose id
    it would give again."""
    last = client.xrevrange("rdev:{demo}:events", count=1)[0][0].decode()
    client.flushall()
    while True:
        seconds, micros = client.time()
        if seconds * 1000 + micros // 1000 > int(last.partition("-")[0]):
            return


def test_a_project_reader_survives_the_loss_of_all_data(streams, events, client):
    run(streams)
    with events.project_reader(PROJECT) as reader:
        assert reader.next(0) is None
        lose_all_data(client)
        run(streams, place=(PROJECT, "cmd-2"))
        assert [e.type for e in collect(reader)] == [GAP, QUEUED, STARTED, OUTPUT, FINISHED]


def test_a_project_reader_gets_nothing_again_where_redis_comes_back_with_less(
    streams, events, client
):
    run(streams)
    (last, _), *_ = client.xrevrange(f"rdev:{{{PROJECT}}}:events", count=1)
    with events.project_reader(PROJECT, "0") as reader:
        collect(reader)
        client.xdel(f"rdev:{{{PROJECT}}}:events", last)
        (hole,) = collect(reader, until=GAP)
        run(streams, place=(PROJECT, "cmd-2"))
        got = collect(reader)
    assert [entry.type for entry in got] == [QUEUED, STARTED, OUTPUT, FINISHED]
    assert hole.id < EntryId.of(last)


def test_waiting_for_an_end_returns_with_it_and_not_before(streams, events):
    streams.announce(*PLACE, QUEUED, {})
    assert not events.wait_finished(*PLACE, 0.05)
    done = threading.Timer(0.1, streams.announce, [*PLACE, FINISHED, {}])
    done.start()
    assert events.wait_finished(*PLACE, ENOUGH_S)
    done.join()
    assert events.wait_finished(*PLACE, 0)


def test_who_falls_behind_the_ring_misses_nothing(streams, events):
    """Given one reader that keeps up and one that does not read while megabytes go by."""
    piece = b"0123456789abcdef" * 1024
    streams.announce(*PLACE, QUEUED, {})
    with events.command_reader(*PLACE) as slow, events.command_reader(*PLACE) as quick:
        got = lines(slow.next(ENOUGH_S))
        seen = lines(quick.next(ENOUGH_S))
        at = 0
        for _ in range(300):
            at = streams.append(*PLACE, STDOUT, Position(at, 0), piece).stdout
            if chunk := quick.next(0):
                seen += lines(chunk)
        streams.announce(*PLACE, FINISHED, {}, Position(at, 0))
        seen += collect(quick)
        got += collect(slow)
    assert text(seen) == text(got) == (piece * 300).decode()


def test_two_hundred_readers_of_one_stream_all_get_all_of_it(streams, events):
    readers = [events.command_reader(*PLACE) for _ in range(200)]
    got = [[] for _ in readers]
    threads = [
        threading.Thread(target=lambda r=reader, g=box: g.extend(collect(r)))
        for reader, box in zip(readers, got, strict=True)
    ]
    for thread in threads:
        thread.start()
    run(streams, b"")
    for thread in threads:
        thread.join(ENOUGH_S)
    for reader in readers:
        reader.close()
    assert all([e.type for e in box] == [QUEUED, STARTED, FINISHED] for box in got)


def test_output_is_read_back_by_byte_ranges(streams, events):
    at = Position()
    for stream, data in [(STDOUT, b"abc"), (STDERR, b"12345"), (STDOUT, b"def"), (STDERR, b"6")]:
        at = streams.append(*PLACE, stream, at, data)

    def read(*args):
        return b"".join(events.output(*PLACE, *args))

    assert read(STDOUT) == b"abcdef"
    assert read(STDERR, 2, 6) == b"3456"
    assert read("all") == b"abc12345def6"
    for start in range(7):
        assert read(STDOUT, start, 5) == b"abcdef"[start:5]
        assert read("all", start, start + 4) == b"abc12345def6"[start : start + 4]
    assert read(STDOUT, 6) == b""
    assert [entry.data for entry in events.entries(*PLACE)] == [b"abc", b"12345", b"def", b"6"]
    streams.trim_to(*PLACE, EntryId(4, 5))
    with pytest.raises(Gone):
        events.output(*PLACE, STDOUT, 0)
    assert read(STDOUT, 3) == b"def"
