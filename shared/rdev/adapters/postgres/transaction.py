"""The tables, within one transaction. Each is loaded by who first needs it: a function starts with
those of its own noun."""

from functools import cached_property
from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import DictRow

if TYPE_CHECKING:
    from rdev.adapters.postgres.archive import ArchiveRows
    from rdev.adapters.postgres.audit import AuditRows
    from rdev.adapters.postgres.commands import CommandRows
    from rdev.adapters.postgres.input import InputRows
    from rdev.adapters.postgres.keys import KeyRows
    from rdev.adapters.postgres.making import MakingRows
    from rdev.adapters.postgres.projects import ProjectRows
    from rdev.adapters.postgres.queue import QueueRows
    from rdev.adapters.postgres.standing import StandingRows
    from rdev.adapters.postgres.webhook_deliveries import DeliveryRows
    from rdev.adapters.postgres.webhook_outbox import OutboxRows
    from rdev.adapters.postgres.webhook_records import DeliveryRecordRows
    from rdev.adapters.postgres.webhooks import EndpointRows

Connection = psycopg.Connection[DictRow]


class Transaction:
    """Port `rdev.ports.transactions.Transaction`."""

    def __init__(self, connection: Connection, audit_command_text: str = "full") -> None:
        self._connection = connection
        self._audit_command_text = audit_command_text

    @property
    def left_deliveries(self) -> bool:
        """Whether there is something to deliver once this is committed."""
        return "outbox" in vars(self) and self.outbox.wrote

    @cached_property
    def keys(self) -> "KeyRows":
        from rdev.adapters.postgres.keys import KeyRows

        return KeyRows(self._connection)

    @cached_property
    def projects(self) -> "ProjectRows":
        from rdev.adapters.postgres.projects import ProjectRows

        return ProjectRows(self._connection)

    @cached_property
    def making(self) -> "MakingRows":
        from rdev.adapters.postgres.making import MakingRows

        return MakingRows(self._connection)

    @cached_property
    def commands(self) -> "CommandRows":
        from rdev.adapters.postgres.commands import CommandRows

        return CommandRows(self._connection)

    @cached_property
    def queue(self) -> "QueueRows":
        from rdev.adapters.postgres.queue import QueueRows

        return QueueRows(self._connection)

    @cached_property
    def input(self) -> "InputRows":
        from rdev.adapters.postgres.input import InputRows

        return InputRows(self._connection)

    @cached_property
    def archive(self) -> "ArchiveRows":
        from rdev.adapters.postgres.archive import ArchiveRows

        return ArchiveRows(self._connection)

    @cached_property
    def audit(self) -> "AuditRows":
        from rdev.adapters.postgres.audit import AuditRows

        return AuditRows(self._connection, self._audit_command_text)

    @cached_property
    def endpoints(self) -> "EndpointRows":
        from rdev.adapters.postgres.webhooks import EndpointRows

        return EndpointRows(self._connection)

    @cached_property
    def outbox(self) -> "OutboxRows":
        from rdev.adapters.postgres.webhook_outbox import OutboxRows

        return OutboxRows(self._connection)

    @cached_property
    def deliveries(self) -> "DeliveryRows":
        from rdev.adapters.postgres.webhook_deliveries import DeliveryRows

        return DeliveryRows(self._connection)

    @cached_property
    def delivery_records(self) -> "DeliveryRecordRows":
        from rdev.adapters.postgres.webhook_records import DeliveryRecordRows

        return DeliveryRecordRows(self._connection)

    @cached_property
    def standing(self) -> "StandingRows":
        from rdev.adapters.postgres.standing import StandingRows

        return StandingRows(self._connection)
