"""What counts as gone for good, and what as missing now and then."""

from rdev.services.pauses import Missing


def looks(*times: float, gone_s: float = 15) -> list[bool]:
    """Whether it is gone, each time it was looked for in vain."""
    now = 0.0
    missing = Missing(gone_s, clock=lambda: now)
    said = []
    for now in times:  # noqa: B007 - the clock's
        said.append(missing.for_long(missing=True))
    return said


def test_what_is_missing_each_time_for_long_enough_is_gone() -> None:
    assert looks(0, 1, 3, 15, 16) == [False, False, False, False, True]


def test_what_was_missing_for_a_moment_an_hour_ago_is_not_gone_for_another_moment() -> None:
    assert looks(0, 3600, 3601) == [False, False, False]


def test_what_was_there_in_between_is_not_gone() -> None:
    now = 0.0
    missing = Missing(15, clock=lambda: now)
    assert not missing.for_long(missing=True)
    assert not missing.for_long(missing=False)
    now = 16
    assert not missing.for_long(missing=True)
