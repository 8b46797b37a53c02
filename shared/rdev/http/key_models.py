"""What callers send about keys: for validation and for the OpenAPI document."""

from typing import Annotated

from pydantic import Field

from rdev.domain.addresses import parse_networks
from rdev.http.fields import MAX_LIST, WHOLE, Cidr, Line, Moment, Scope, Text
from rdev.http.parsing import Strict
from rdev.services.keys import Grant


class CreateKey(Strict):
    """A new API key."""

    name: Annotated[Line, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    description: Annotated[Text, Field(max_length=1000)] = ""
    projects: Annotated[
        list[Annotated[Line, Field(min_length=1, max_length=63)]],
        Field(min_length=1, max_length=MAX_LIST),
    ] = ["*"]
    allowed_ips: Annotated[list[Cidr], Field(max_length=MAX_LIST)] = []
    rate_limit: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = None
    expires_at: Moment | None = None

    def grant(self) -> Grant:
        return Grant(
            name=self.name,
            scopes=tuple(self.scopes),
            description=self.description,
            projects=tuple(self.projects),
            allowed_ips=parse_networks(self.allowed_ips),
            rate_limit=self.rate_limit,
            max_concurrent=self.max_concurrent,
            expires_at=self.expires_at,
        )


class RotateKey(Strict):
    """A key's next secret."""

    overlap_s: Annotated[int, Field(ge=0, le=30 * 86_400), WHOLE] = 86_400
