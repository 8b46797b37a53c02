"""What callers send: one set of models for validation and for the OpenAPI document. Here what
belongs to no noun alone, and projects; a module for each of the others."""

from typing import Annotated

from pydantic import Field

from rdev.http.fields import WHOLE, Env, EventId, ProjectId, Text
from rdev.http.parsing import Strict

_GIT_URL = r"^(https?://|ssh://|git@)[^\s\x00-][^\s\x00]*$"


class CreateProject(Strict):
    """A new project and its workspace."""

    id: ProjectId
    git_url: Annotated[str, Field(max_length=2000, pattern=_GIT_URL)] | None = None
    env: Env = {}
    max_concurrent: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = None
    template: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")] | None = None


class Page(Strict):
    """Which part of a list."""

    cursor: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class EventsQuery(Strict):
    """Which events, and from where on."""

    stream_id: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    after: EventId | None = None
    ticket: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
