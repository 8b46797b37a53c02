"""What callers ask of the audit log."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from rdev.domain.addresses import parse_networks
from rdev.domain.audit_progress import Progress
from rdev.http.fields import Line, Moment
from rdev.http.models import Page
from rdev.http.parsing import Strict
from rdev.services.audit import Filters


def _address(value: str) -> str:
    """As it is written down: an address by itself, an IPv6 neighbourhood as its CIDR."""
    (network,) = parse_networks([value])
    return str(network) if "/" in value else str(network.network_address)


def _progress(value: str) -> str:
    Progress.parse(value)
    return value


_Id = Annotated[Line, Field(min_length=1, max_length=100)]


class AuditQuery(Page):
    """Which rows of the audit log."""

    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")] | None = None
    key: _Id | None = None
    action: Annotated[str, Field(max_length=50, pattern=r"^[a-z_]+(\.([a-z_]+|\*))?$")] | None = (
        None
    )
    project: _Id | None = None
    subject: _Id | None = None
    outcome: Annotated[str, Field(max_length=50, pattern=r"^[A-Za-z_]+$")] | None = None
    address: (
        Annotated[Line, Field(min_length=1, max_length=64), AfterValidator(_address)] | None
    ) = None
    since: Moment | None = None
    until: Moment | None = None

    @property
    def before(self) -> int | None:
        return None if self.cursor is None else int(self.cursor)

    def filters(self) -> Filters:
        return Filters(
            key_id=self.key,
            action=self.action,
            project_id=self.project,
            subject=self.subject,
            outcome=self.outcome,
            address=self.address,
            since=self.since,
            until=self.until,
        )


class VerifyQuery(Strict):
    """A head that was kept elsewhere: both of it, or none. `cursor`: to go on with a check."""

    cursor: (
        Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_progress)] | None
    ) = None

    position: Annotated[int, Field(ge=0, le=2**53)] | None = None
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _whole(self) -> "VerifyQuery":
        if (self.position is None) != (self.hash is None):
            raise ValueError("position and hash belong together: give both, or none")
        return self

    @property
    def after(self) -> Progress | None:
        return None if self.cursor is None else Progress.parse(self.cursor)
