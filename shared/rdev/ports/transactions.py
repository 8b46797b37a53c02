"""What commits together."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rdev.ports.archive import ArchiveTable
    from rdev.ports.audit import AuditTable
    from rdev.ports.exec import CommandTable, InputTable, QueueTable
    from rdev.ports.keys import KeyTable
    from rdev.ports.projects import MakingTable, ProjectTable
    from rdev.ports.standing import StandingTable
    from rdev.ports.webhooks import DeliveryRecords, DeliveryTable, EndpointTable, Outbox


class Transaction(Protocol):
    """What commits together."""

    @property
    def keys(self) -> KeyTable: ...
    @property
    def projects(self) -> ProjectTable: ...
    @property
    def making(self) -> MakingTable: ...
    @property
    def commands(self) -> CommandTable: ...
    @property
    def queue(self) -> QueueTable: ...
    @property
    def input(self) -> InputTable: ...
    @property
    def archive(self) -> ArchiveTable: ...
    @property
    def audit(self) -> AuditTable: ...
    @property
    def endpoints(self) -> EndpointTable: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def deliveries(self) -> DeliveryTable: ...
    @property
    def delivery_records(self) -> DeliveryRecords: ...
    @property
    def standing(self) -> StandingTable: ...


class Transactions(Protocol):
    """How one begins. `reading`: for single statements that change nothing, each for itself; it
    costs less."""

    def __call__(self, *, reading: bool = False) -> AbstractContextManager[Transaction]: ...
