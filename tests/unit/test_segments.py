"""Segments: what goes in comes out exactly, or not at all; any set of them can be read on in."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdev.domain.commands import Position
from rdev.domain.events import (
    CLAUDE,
    FINISHED,
    NOTHING,
    OUTPUT,
    QUEUED,
    START,
    STDERR,
    STDOUT,
    Entry,
    EntryId,
    Tail,
    finished_id,
    output_id,
)
from rdev.domain.segments import (
    Segment,
    SegmentName,
    decode,
    encode,
    end_of,
    next_after,
    reaches,
    tail_of,
)
from rdev.errors import SegmentDamaged

PLACE = ("demo", "cmd-1")

pieces = st.lists(
    st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1, max_size=40)), max_size=12
)


def segment(parts, start=NOTHING, *, queued=False, finished=False):
    entries = [Entry(EntryId(0, 1), QUEUED, b'{"a":"\\u00e9"}')] if queued else []
    at = start
    for stream, data in parts:
        out, err = (len(data), 0) if stream == STDOUT else (0, len(data))
        at = Position(at.stdout + out, at.stderr + err)
        kind = CLAUDE if data.startswith(b"{") else OUTPUT
        entries.append(Entry(output_id(at), kind, data, stream))
    if finished:
        entries.append(Entry(finished_id(at), FINISHED, b"{}"))
    return Segment(tuple(entries))


@given(pieces, st.integers(0, 10**15), st.booleans(), st.booleans())
def test_a_segment_comes_back_exactly(parts, base, queued, finished):
    start = NOTHING if queued else Position(base, base // 3)
    if not (parts or queued or finished):
        return
    made = segment(parts, start, queued=queued, finished=finished)
    assert decode(*PLACE, made.name, encode(*PLACE, made)) == made
    assert SegmentName.parse(str(made.name)) == made.name


@pytest.mark.parametrize(
    "data", [b"\x00" * 100, b"\xff\xfe", "\u2028\x85 \U0001f600\n".encode(), b'"\\\r\n', b"\x7f\t"]
)
def test_awkward_bytes_come_back_exactly(data):
    made = segment([(STDOUT, data)])
    assert decode(*PLACE, made.name, encode(*PLACE, made)) == made


def test_nulls_do_not_bloat():
    assert len(encode(*PLACE, segment([(STDOUT, b"\x00" * 10_000)]))) < 15_000


@settings(suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.data())
def test_whatever_is_damaged_is_refused(data):
    made = segment([(STDOUT, b"hello"), (STDERR, b"\xff\x00oh")], queued=True, finished=True)
    content = encode(*PLACE, made)
    at = data.draw(st.integers(0, len(content) - 1))
    flip = data.draw(st.integers(1, 255))
    hurt = content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
    for wrong in (hurt, content[:at], content + b"x", b""):
        try:
            assert decode(*PLACE, made.name, wrong) == made  # only the header's dress changed
        except SegmentDamaged:
            continue


def test_a_segment_in_the_wrong_place_is_refused():
    made = segment([(STDOUT, b"hello")])
    content = encode(*PLACE, made)
    for place in (("demo", "cmd-2"), ("other", "cmd-1")):
        with pytest.raises(SegmentDamaged):
            decode(*place, made.name, content)
    with pytest.raises(SegmentDamaged):
        decode(*PLACE, SegmentName(NOTHING, Position(6, 0)), content)


def test_names_sort_as_their_bytes_lie():
    names = [SegmentName(Position(9, 0), Position(10, 5)), SegmentName(NOTHING, Position(9, 0))]
    assert sorted(map(str, names)) == [str(names[1]), str(names[0])]
    assert SegmentName.parse("x" + str(names[0])) is None
    assert SegmentName.parse(str(names[0]) + "#12ab") is None


@st.composite
def cuts(draw: st.DrawFn, at: Position, totals: Position) -> list[Position]:
    """Where an archiver that begins at `at` cuts a stream."""
    lists = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)
    ahead = draw(lists)
    out = sorted(min(totals.stdout, at.stdout + stdout) for stdout, _ in ahead)
    err = sorted(min(totals.stderr, at.stderr + stderr) for _, stderr in ahead)
    return [*map(Position, out, err), totals]


@given(st.data())
def test_reading_on_from_segment_to_segment_meets_every_byte(data):
    """Given several archivers that each cut one stream as they liked, from where they found it;
    when one reads on from segment to segment; then it arrives at the end without a hole."""
    totals = Position(data.draw(st.integers(0, 30)), data.draw(st.integers(0, 30)))
    names = []
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from([NOTHING, *[name.end for name in names]]))
        for ahead in data.draw(cuts(at, totals)):
            if ahead != at:
                names.append(SegmentName(at, ahead))
                at = ahead
    names.append(SegmentName(totals, totals, finished=True))
    names = data.draw(st.permutations(names))
    assert tail_of(names).position == totals
    assert tail_of(names).finished
    at, after, steps = NOTHING, START, 0
    while (name := next_after(names, after)) is not None:
        assert reaches(name.start, at)
        at = Position(max(at.stdout, name.end.stdout), max(at.stderr, name.end.stderr))
        after = finished_id(at) if name.finished and at == totals else output_id(at)
        steps += 1
        assert steps <= 2 * len(names)
    assert after == finished_id(totals)


def test_a_hole_ends_the_tail_and_is_read_past():
    first = SegmentName(NOTHING, Position(5, 0))
    beyond = SegmentName(Position(9, 0), Position(12, 0))
    last = SegmentName(Position(12, 0), Position(12, 0), finished=True)
    assert tail_of([last, beyond, first]).position == Position(5, 0)
    assert not tail_of([last, beyond, first]).finished
    assert end_of([last, beyond, first]) == Tail(
        Position(12, 0), finished=True, last_id=finished_id(Position(12, 0))
    )
    assert next_after([last, beyond, first], output_id(Position(5, 0))) == beyond
    assert next_after([last], finished_id(Position(12, 0))) is None
