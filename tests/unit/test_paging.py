"""Pages of what a caller sees of a list, and what they cost."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.services.paging import page_seen


class Listed:
    """Numbers as ids, in order; counts how often it is read."""

    def __init__(self, count: int) -> None:
        self.ids = [f"{number:06}" for number in range(count)]
        self.reads = 0

    def read(self, start: str | None, limit: int) -> Sequence[str]:
        self.reads += 1
        behind = self.ids if start is None else [each for each in self.ids if each > start]
        return behind[:limit]

    def page(
        self, sees: Callable[[str], bool], start: str | None, limit: int
    ) -> tuple[list[str], str | None]:
        return page_seen(self.read, sees, lambda each: each, start=start, limit=limit)


@given(st.sets(st.integers(0, 60)), st.integers(1, 20))
def test_pages_are_the_whole_of_what_is_seen(numbers: set[int], limit: int) -> None:
    listed, seen = Listed(61), {f"{number:06}" for number in numbers}
    found: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = listed.page(seen.__contains__, cursor, limit)
        assert len(page) <= limit
        found += page
        if cursor is None:
            break
        assert len(page) == limit
    assert found == sorted(seen)


@pytest.mark.parametrize("limit", [1, 100])
def test_who_sees_nothing_costs_few_reads(limit: int) -> None:
    listed = Listed(10_000)
    assert listed.page(lambda _each: False, None, limit) == ([], None)
    assert listed.reads <= 12


def test_who_sees_all_reads_a_page_for_a_page() -> None:
    listed = Listed(100)
    assert listed.page(lambda _each: True, None, 2) == (["000000", "000001"], "000001")
    assert listed.reads == 1
