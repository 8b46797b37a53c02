"""Documents (YAML, JSON) with one thing changed, for tests of what looks at them."""

from collections.abc import Sequence
from typing import Any


def change(document: Any, path: Sequence[Any], put: Any = None) -> None:
    """Put a value there; without one, take away what is there."""
    *folders, last = path
    for step in folders:
        document = document[step]
    if put is None:
        del document[last]
    else:
        document[last] = put
