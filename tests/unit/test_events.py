"""Ids that count bytes, what a client has not seen yet, and the frames it gets."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.domain.commands import Position
from rdev.domain.events import (
    CLAUDE,
    FINISHED,
    GAP,
    OUTPUT,
    QUEUED,
    START,
    STARTED,
    STDERR,
    STDOUT,
    Entry,
    EntryId,
    Tail,
    finished_id,
    output_id,
    position_of,
    render,
    split_utf8,
    to_json,
)
from rdev.domain.following import Follower, unseen
from rdev.errors import InvalidRequest
from rdev.http.sse import frame

COMMAND = "cmd-1"


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1", "1-", "1-2-3", " 1-2", "1-2\n", "٣-1", "9" * 40 + "-0", "-"]
)
def test_what_is_no_id_is_refused_naming_its_field(text):
    with pytest.raises(InvalidRequest) as caught:
        EntryId.parse(text, "Last-Event-ID")
    assert caught.value.details[0].field == "Last-Event-ID"


def test_zero_is_the_beginning_and_ids_round_trip():
    assert EntryId.parse("0") == START
    assert str(EntryId.parse("12-34")) == "12-34"
    assert position_of(output_id(Position(5, 7))) == Position(5, 7)


@given(st.text(), st.integers(1, 7))
def test_a_character_is_never_split_however_its_bytes_arrive(text, size):
    sent, held = [], b""
    data = text.encode()
    for start in range(0, len(data), size):
        held += data[start : start + size]
        ready = split_utf8(held)
        sent.append(held[:ready].decode())
        held = held[ready:]
    assert not held
    assert "".join(sent) == text


@given(st.binary(max_size=40))
def test_at_most_three_bytes_are_held_back_and_none_at_the_end(data):
    assert 0 <= len(data) - split_utf8(data) <= 3
    assert split_utf8(data, final=True) == len(data)


def test_bytes_that_are_no_utf8_are_not_held_back():
    assert split_utf8(b"abc\xff") == 4
    assert split_utf8(b"\x80\x80\x80\x80") == 4
    assert split_utf8(b"ab\xe2\x82") == 2


def test_output_is_text_where_it_can_be_and_base64_where_not():
    text = Entry(EntryId(4, 0), OUTPUT, "ü\n".encode(), STDOUT)
    raw = Entry(EntryId(1, 2), OUTPUT, b"\xff\x00", STDERR)
    assert json.loads(render(text, COMMAND)) == {
        "command_id": COMMAND,
        "stream": "stdout",
        "offset": 0,
        "data": "ü\n",
    }
    assert json.loads(render(raw, COMMAND))["encoding"] == "base64"


def test_a_claude_message_is_parsed_and_keeps_its_offset():
    line = b'{"type":"result"}\n'
    entry = Entry(EntryId(100 + len(line) + 1, 0), CLAUDE, line, STDOUT)
    assert json.loads(render(entry, COMMAND)) == {
        "command_id": COMMAND,
        "offset": 100,
        "message": {"type": "result"},
    }


def test_a_frame_is_one_data_line_whatever_the_text_holds():
    entry = Entry(EntryId(30, 0), OUTPUT, "a\u2028b\u0085c\r\nd\x0be\x1cf".encode(), STDOUT)
    sent = frame(entry.id, entry.type, render(entry, COMMAND))
    assert sent.startswith(b"id: 30-0\nevent: output\ndata: {")
    assert len(sent.decode().rstrip("\n").splitlines()) == 3
    assert sent.endswith(b"}\n\n")


# --- following -------------------------------------------------------------------------------


def written(pieces):
    """A command's entries, from [(stream, bytes)…]."""
    entries = [Entry(EntryId(0, 1), QUEUED, b"{}"), Entry(EntryId(0, 2), STARTED, b"{}")]
    at = Position()
    for stream, data in pieces:
        out = stream == STDOUT
        at = Position(at.stdout + len(data) * out, at.stderr + len(data) * (not out))
        entries.append(Entry(output_id(at), OUTPUT, data, stream))
    return [*entries, Entry(finished_id(at), FINISHED, b"{}")]


def cut(draw, stdout, stderr):
    """One of the many ways in which the same bytes may lie in a stream."""
    left = {STDOUT: stdout, STDERR: stderr}
    pieces = []
    while any(left.values()):
        stream = draw(st.sampled_from([name for name, data in left.items() if data]))
        size = draw(st.integers(1, len(left[stream])))
        pieces.append((stream, left[stream][:size]))
        left[stream] = left[stream][size:]
    return written(pieces)


def received(events):
    """The bytes of each stream, checked to come in order."""
    got = {STDOUT: b"", STDERR: b""}
    for event in events:
        if event.stream:
            assert event.offset == len(got[event.stream])
            got[event.stream] += event.data
    return got


def drain(follower, stored, size=3):
    """Follow to the end of what is stored, in small pages."""
    events = []
    while True:
        page = [entry for entry in stored if entry.id > follower.read_after][:size]
        events += follower.take(page)
        tail = Tail(stored[-1].end, False, stored[-1].id) if stored else Tail()
        if not page and follower.exhausted(tail):
            return events
        if follower.ended:
            return events


@given(st.data(), st.binary(max_size=12), st.binary(max_size=12))
def test_a_client_gets_each_byte_once_over_streams_lost_and_rebuilt_otherwise(data, out, err):
    events, seen = [], START
    for _ in range(data.draw(st.integers(1, 4))):
        stored = cut(data.draw, out, err)
        stored = stored[: data.draw(st.integers(0, len(stored) - 1))]
        follower = Follower(COMMAND, seen)
        fresh = drain(follower, stored)
        fresh = fresh[: data.draw(st.integers(0, len(fresh)))]  # then the connection breaks
        events += fresh
        seen = fresh[-1].id if fresh else seen
    events += drain(Follower(COMMAND, seen), cut(data.draw, out, err))
    assert received(events) == {STDOUT: out, STDERR: err}
    assert [e.type for e in events if not e.stream].count(FINISHED) == 1
    assert not [e for e in events if e.type == GAP]
    assert all(a.id < b.id for a, b in pairwise(events))


@given(st.data(), st.binary(max_size=12), st.binary(max_size=12))
def test_one_follower_survives_the_loss_of_the_stream_between_two_pages(data, out, err):
    follower, events = Follower(COMMAND, START), []
    for _ in range(3):
        stored = cut(data.draw, out, err)
        events += drain(follower, stored[: data.draw(st.integers(0, len(stored) - 1))])
    events += drain(follower, cut(data.draw, out, err))
    assert received(events) == {STDOUT: out, STDERR: err}
    assert events[-1].type == FINISHED
    assert not [e for e in events if e.type == GAP]


@given(st.data(), st.binary(min_size=1, max_size=12), st.binary(max_size=12))
def test_what_was_trimmed_is_announced_and_nothing_else(data, out, err):
    stored = cut(data.draw, out, err)
    kept = stored[data.draw(st.integers(0, len(stored) - 1)) :]
    events = drain(Follower(COMMAND, START), kept)
    lacking = kept[0].start
    gaps = [json.loads(e.data) for e in events if e.type == GAP]
    if lacking == Position():
        assert not gaps
    else:
        assert gaps == [
            {
                "command_id": COMMAND,
                "from": "0-0",
                "to": str(output_id(lacking)),
                "reason": "trimmed",
            }
        ]
    bytes_got = b"".join(e.data for e in events if e.stream == STDOUT)
    assert bytes_got == out[lacking.stdout :]


def test_an_entry_in_step_is_handed_on_as_it_is():
    entry = Entry(EntryId(6, 0), OUTPUT, b"hello", STDOUT)
    assert unseen(EntryId(0, 2), entry) is entry
    assert unseen(EntryId(6, 0), entry) is None
    rest = unseen(EntryId(3, 0), entry)
    assert rest is not None
    assert (rest.data, rest.id) == (b"llo", EntryId(6, 0))


def test_json_for_the_wire_is_one_line_of_ascii():
    assert to_json({"a": "ü\n"}) == b'{"a":"\\u00fc\\n"}'
