"""Pages of a list of which a caller sees only a part."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


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
    while True:
        page = read(start, limit + 1)
        for each in page:
            if not sees(each):
                continue
            if len(seen) == limit:
                return seen, id_of(seen[-1])
            seen.append(each)
        if len(page) <= limit:
            return seen, None
        start = id_of(page[-1])
