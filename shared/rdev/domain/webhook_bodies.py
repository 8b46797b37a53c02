"""The body of a webhook: `{type, timestamp, data}`, small enough for every receiver. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rdev.domain.events import to_json
from rdev.domain.instants import timestamp

MAX_BYTES = 20_000
_CUT_CHARACTERS = 500


def body_of(type_: str, data: Mapping[str, Any], at: datetime) -> bytes:
    """The bytes that every attempt sends. Where they would be too many, the largest fields of
    `data` are cut and `data.cut` names them; `data.links` leads to the whole."""
    shown, cut = dict(data), list[str]()
    while len(body := _encoded(type_, shown, cut, at)) > MAX_BYTES:
        name = max(shown, key=lambda each: len(to_json({"": shown[each]})))
        value = shown[name]
        again = name in cut or not isinstance(value, str)
        # Escaped, a character takes up to twelve bytes: what was cut may still be too long.
        shown[name] = None if again else value[:_CUT_CHARACTERS]
        if name not in cut:
            cut.append(name)
    return body


def _encoded(type_: str, data: Mapping[str, Any], cut: list[str], at: datetime) -> bytes:
    marked = {**data, "cut": sorted(cut)} if cut else data
    return to_json({"type": type_, "timestamp": timestamp(at), "data": marked})
