"""An operation: one method on one path, what it takes and each of its answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

JSON = "application/json"


class Envelope(StrEnum):
    """What stands around an answer's content."""

    ONE = "one"
    """`data` is an object."""
    LIST = "list"
    """`data` is an array, and `meta` has `next_cursor`."""
    ERROR = "error"
    """`error` in place of `data`."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header by its name in the document's components."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    always: bool = False
    """Of an answer: whether it is on every one with this status."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One status and what comes with it: a record in the envelope, bytes of these types, or either,
    as `Accept` has it."""

    description: str
    record: type[BaseModel] | None = None
    envelope: Envelope = Envelope.ONE
    raw: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By media type, the schema of a body without an envelope."""
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """`handler` is the Flask endpoint, `blueprint.function`; the first sentence of the handler's
    docstring is the `summary`, unless one handler serves several paths."""

    method: str
    path: str
    handler: str
    summary: str
    answers: Mapping[int, Answer]
    scope: str | None = None
    """What the key must hold; None: any key will do."""
    needs_key: bool = True
    takes_ticket: bool = False
    query: type[BaseModel] | None = None
    headers: tuple[Header, ...] = ()
    body: type[BaseModel] | None = None
    raw_body: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Bodies beside `body`, by media type."""
    body_required: bool = True
    errors: tuple[str, ...] = ()
    """Codes beside those that every operation of its sort can answer (see document.py)."""
    description: str = ""

    @property
    def id(self) -> str:
        """Unique, and a good name for a generated client's method."""
        return self.handler.partition(".")[2]

    @property
    def noun(self) -> str:
        return self.handler.partition(".")[0]


def one(record: type[BaseModel], description: str, *headers: Header) -> Answer:
    return Answer(description, record, headers=headers)


def many(record: type[BaseModel], description: str) -> Answer:
    return Answer(description, record, Envelope.LIST)
