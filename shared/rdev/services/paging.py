"""Pages of a list of which a caller sees only a part."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 1000
"""Read where the first page was not enough: a caller who sees next to nothing costs few reads."""


def page_seen(
    read: Callable[[str | None, int], Sequence[T]],
    sees: Callable[[T], bool],
    id_of: Callable[[T], str],
    *,
    start: str | None,
    limit: int,
) -> tuple[list[T], str | None]:
    """Up to `limit` of what is seen, and where the next page begins; None: this was the last.
    `read` gives so many from behind an id on."""
    seen: list[T] = []
    count = limit + 1
    while True:
        page = read(start, count)
        for each in page:
            if not sees(each):
                continue
            if len(seen) == limit:
                return seen, id_of(seen[-1])
            seen.append(each)
        if len(page) < count:
            return seen, None
        start, count = id_of(page[-1]), max(count, _AT_ONCE)
