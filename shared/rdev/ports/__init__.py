"""What the services need of the world, named by the semantics they rely on. A file a noun.

The domain's types are named here and not loaded: every function has the ports of all nouns, and
starts with the values of its own."""

from rdev.ports.archive import ArchiveTable, SegmentArchive
from rdev.ports.events import EventStreams, ProjectFeed
from rdev.ports.exec import CommandTable, InputTable, QueueTable, QueueTickets
from rdev.ports.keys import KeyTable
from rdev.ports.projects import MakingTable, ProjectTable
from rdev.ports.transactions import Transaction, Transactions
from rdev.ports.webhooks import (
    Bell,
    DeliveryRecords,
    DeliveryTable,
    EndpointTable,
    Outbox,
    WebhookSender,
)
from rdev.ports.workspaces import Liveness, Workspace, Workspaces

__all__ = [
    "ArchiveTable",
    "Bell",
    "CommandTable",
    "DeliveryRecords",
    "DeliveryTable",
    "EndpointTable",
    "EventStreams",
    "InputTable",
    "KeyTable",
    "Liveness",
    "MakingTable",
    "Outbox",
    "ProjectFeed",
    "ProjectTable",
    "QueueTable",
    "QueueTickets",
    "SegmentArchive",
    "Transaction",
    "Transactions",
    "WebhookSender",
    "Workspace",
    "Workspaces",
]
