"""Input: bytes on their way into a running command's stdin, addressed by offset. Pure.

Offsets count all of a command's stdin, what was given with it included. So a piece that comes
twice is seen to be the same piece, and each byte goes in once, in order.
"""

from dataclasses import dataclass

from rdev.errors import Conflict, PayloadTooLarge, TooManyRequests

MOST_WAITING_BYTES = 1_000_000
MOST_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class InputState:
    """How much of a command's input was accepted, and how much of it its workspace has."""

    accepted: int
    fed: int
    closed: bool


@dataclass(frozen=True, slots=True)
class WaitingInput:
    """What the workspace is to be fed: `data` from `start` on, the end of it all if `closed`."""

    start: int
    data: bytes
    closed: bool


def fresh_part(state: InputState, offset: int | None, data: bytes) -> bytes:
    """What of a piece is new and can be taken now. Raises Conflict where it begins beyond the end
    or the input is closed, PayloadTooLarge beyond what a command takes in all or at once, and
    TooManyRequests while the command has to read first."""
    if offset is not None and offset > state.accepted:
        raise Conflict(
            f"The input ends at offset {state.accepted}, and this would begin at {offset}. "
            f"Send what lies between first."
        )
    fresh = data if offset is None else data[state.accepted - offset :]
    if not fresh:
        return fresh
    if state.closed:
        raise Conflict("The command's stdin is closed. It takes no more input.")
    if len(fresh) > MOST_WAITING_BYTES:
        raise PayloadTooLarge(f"Send at most {MOST_WAITING_BYTES} bytes of input at a time.")
    if state.accepted + len(fresh) > MOST_BYTES:
        raise PayloadTooLarge(
            f"A command takes {MOST_BYTES} bytes of stdin. Put more into a file of its workspace."
        )
    if state.accepted - state.fed + len(fresh) > MOST_WAITING_BYTES:
        raise TooManyRequests(
            f"{state.accepted - state.fed} bytes of input wait for the command to read them. "
            f"Send more when it has.",
            retry_after_s=1,
        )
    return fresh
