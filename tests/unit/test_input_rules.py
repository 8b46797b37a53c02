"""Which part of a piece of input is taken, by a plain model of the bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.domain.input import MOST_BYTES, MOST_WAITING_BYTES, InputState, fresh_part
from rdev.errors import Conflict, PayloadTooLarge, TooManyRequests

WHOLE = bytes(range(256)) * 4


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 400)), max_size=50))
def test_pieces_in_any_order_and_number_never_make_but_a_beginning_of_the_whole(pieces):
    accepted = b""
    for start, size in pieces:
        state = InputState(len(accepted), 0, closed=False)
        try:
            accepted += fresh_part(state, start, WHOLE[start : start + size])
        except Conflict:
            assert start > len(accepted)
    assert WHOLE.startswith(accepted)


def test_without_an_offset_a_piece_is_appended():
    assert fresh_part(InputState(5, 5, closed=False), None, b"abc") == b"abc"


def test_a_closed_input_takes_what_it_has_already_and_nothing_else():
    closed = InputState(3, 3, closed=True)
    assert fresh_part(closed, 0, b"abc") == b""
    assert fresh_part(closed, None, b"") == b""
    with pytest.raises(Conflict):
        fresh_part(closed, 0, b"abcd")
    with pytest.raises(Conflict):
        fresh_part(closed, None, b"d")


def test_what_waits_is_bounded_and_what_was_fed_does_not_count():
    full = InputState(MOST_WAITING_BYTES + 7, 7, closed=False)
    with pytest.raises(TooManyRequests):
        fresh_part(full, None, b"x")
    assert fresh_part(InputState(full.accepted, 8, closed=False), None, b"x") == b"x"


def test_what_can_never_be_taken_is_too_large():
    with pytest.raises(PayloadTooLarge):
        fresh_part(InputState(0, 0, closed=False), None, bytes(MOST_WAITING_BYTES + 1))
    with pytest.raises(PayloadTooLarge):
        fresh_part(InputState(MOST_BYTES, MOST_BYTES, closed=False), None, b"x")
