"""What callers send about webhooks."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from rdev.domain.request_headers import OF_THE_CONNECTION
from rdev.domain.webhooks import State
from rdev.http.fields import WHOLE, Moment, Text
from rdev.http.models import Page
from rdev.http.parsing import Strict
from rdev.services.webhooks import EndpointWish

_MAX_LIST = 100
_MAX_HEADERS = 20
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]{0,2000}[\x21-\x7e])?")
_TAKEN = OF_THE_CONNECTION | {"content-type", "content-encoding", "user-agent"}


def _headers(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        lower = name.lower()
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if lower in _TAKEN or lower.startswith("webhook-"):
            raise ValueError(f"{name} is rdev's to set")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"{name}: must be 1 to 2000 printable ASCII characters")
    lowered = {name.lower(): value for name, value in values.items()}
    if len(lowered) < len(values):
        raise ValueError("a header is named twice")
    return lowered


def _glob(value: str) -> str:
    if not re.fullmatch(r"[a-z._*]{1,50}", value):
        raise ValueError("must be a type of event such as command.finished, or a glob of them")
    return value


def _project_glob(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9*?\[\]!-]{1,63}", value):
        raise ValueError("must be a project's name, or a glob of names")
    return value


Url = Annotated[Text, Field(min_length=1, max_length=2000)]
Events = Annotated[
    list[Annotated[str, AfterValidator(_glob)]], Field(min_length=1, max_length=_MAX_LIST)
]
Projects = Annotated[
    list[Annotated[str, AfterValidator(_project_glob)]],
    Field(min_length=1, max_length=_MAX_LIST),
]
Description = Annotated[Text, Field(max_length=1000)]
Headers = Annotated[dict[str, str], Field(max_length=_MAX_HEADERS), AfterValidator(_headers)]
MaxConcurrent = Annotated[int, Field(ge=1, le=100), WHOLE]
Secret = Annotated[str, Field(min_length=1, max_length=200)]


class CreateWebhook(Strict):
    """A new endpoint."""

    url: Url
    events: Events = ["*"]
    projects: Projects = ["*"]
    description: Description = ""
    headers: Headers = {}
    secret: Secret | None = None
    max_concurrent: MaxConcurrent | None = None
    paused: bool = False

    def wish(self) -> EndpointWish:
        return EndpointWish(
            url=self.url,
            events=tuple(self.events),
            projects=tuple(self.projects),
            description=self.description,
            headers=self.headers,
            max_concurrent=self.max_concurrent,
            paused=self.paused,
        )


class UpdateWebhook(Strict):
    """What is to change of an endpoint; what is left out stays as it is."""

    url: Url | None = None
    events: Events | None = None
    projects: Projects | None = None
    description: Description | None = None
    headers: Headers | None = None
    max_concurrent: MaxConcurrent | None = None
    paused: bool | None = None
    enabled: bool | None = None

    def wish(self) -> EndpointWish:
        return EndpointWish(
            url=self.url,
            events=tuple(self.events) if self.events is not None else None,
            projects=tuple(self.projects) if self.projects is not None else None,
            description=self.description,
            headers=self.headers,
            max_concurrent=self.max_concurrent,
            paused=self.paused,
            enabled=self.enabled,
        )


class RotateSecret(Strict):
    """A new secret for an endpoint."""

    secret: Secret | None = None
    overlap_s: Annotated[float, Field(ge=0, le=604_800)] = 86_400.0


class RecoverDeliveries(Strict):
    """From when on an endpoint is to be told what it missed."""

    since: Moment


class DeliveriesPage(Page):
    """Which of an endpoint's deliveries."""

    state: State | None = None
    type: Annotated[Text, Field(max_length=50)] | None = None
    since: Moment | None = None


class AllDeliveriesPage(DeliveriesPage):
    """Which deliveries."""

    endpoint: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
