"""What commits together."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from rdev.ports.archive import ArchiveTable
from rdev.ports.exec import CommandTable, InputTable, QueueTable
from rdev.ports.keys import KeyTable
from rdev.ports.projects import ProjectTable


class Transaction(Protocol):
    """What commits together."""

    @property
    def keys(self) -> KeyTable: ...
    @property
    def projects(self) -> ProjectTable: ...
    @property
    def commands(self) -> CommandTable: ...
    @property
    def queue(self) -> QueueTable: ...
    @property
    def input(self) -> InputTable: ...
    @property
    def archive(self) -> ArchiveTable: ...


Transactions = Callable[[], AbstractContextManager[Transaction]]
