"""Spans: which part of a request's or a command's way took how long, for whoever collects traces.

One tracer a process, as there is one log: `use` sets it. Without one everything here does nothing,
and costs a call. A context is a W3C `traceparent`; names and attributes never hold what a command
says, values of a statement, or secrets."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Value = str | int | float | bool
NOTHING: Mapping[str, Value] = {}


class Span:
    """One that records nothing."""

    def name(self, name: str) -> None:
        """Name it anew, now that more is known."""

    def set(self, name: str, value: Value) -> None: ...

    def failed(self, error: str) -> None:
        """Say that it did not do what it was for: the kind of error, of few kinds."""


class Tracer(Protocol):
    def span(
        self,
        name: str,
        attributes: Mapping[str, Value],
        *,
        kind: str,
        parent: str | None,
        link: str | None,
        leaf: bool,
    ) -> AbstractContextManager[Span]: ...
    def inner(
        self, name: str, attributes: Mapping[str, Value], *, leaf: bool
    ) -> AbstractContextManager[Span]: ...
    def context(self) -> str | None: ...


_SILENT = Span()
_OFF: AbstractContextManager[Span] = nullcontext(_SILENT)
_tracer: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """Have this process's spans go there; None: nowhere."""
    global _tracer  # noqa: PLW0603 - one a process
    _tracer = tracer


def on() -> bool:
    return _tracer is not None


def span(
    name: str,
    attributes: Mapping[str, Value] = NOTHING,
    *,
    kind: str = "internal",
    parent: str | None = None,
    link: str | None = None,
    leaf: bool = False,
) -> AbstractContextManager[Span]:
    """A span for the block, which becomes the current one. An exception marks it by its type, and
    goes on. `kind` as OpenTelemetry has it. `parent`: instead of the current span; empty: a trace
    of its own. `leaf`: no `inner` ones below it, for there would be too many."""
    if _tracer is None:
        return _OFF
    return _tracer.span(name, attributes, kind=kind, parent=parent, link=link, leaf=leaf)


def inner(
    name: str, attributes: Mapping[str, Value] = NOTHING, *, leaf: bool = True
) -> AbstractContextManager[Span]:
    """A call of a store, by its client. Only within a trace: polling is none."""
    return _OFF if _tracer is None else _tracer.inner(name, attributes, leaf=leaf)


def context() -> str | None:
    """The current span as a `traceparent`; None outside of any."""
    return None if _tracer is None else _tracer.context()
