"""Projects, their commands and what is told of them."""

from typing import TYPE_CHECKING

from rdev.config import settings
from rdev.wiring.parts import now, once
from rdev.wiring.stores import (
    archive,
    database,
    redis_blocking,
    redis_client,
    streams,
    tickets,
    workspaces,
)
from rdev.wiring.wakeups import wake

if TYPE_CHECKING:
    from rdev.services.event_tickets import EventTickets
    from rdev.services.events import Events
    from rdev.services.exec import Exec
    from rdev.services.hub import Hub
    from rdev.services.input import Input
    from rdev.services.lifecycle import Lifecycle
    from rdev.services.projects import Projects
    from rdev.services.removal import Removal


@once
def projects() -> "Projects":
    from rdev.services.projects import Projects

    return Projects(database().transaction, workspaces(), now=now, exec_=exec_)


@once
def lifecycle() -> "Lifecycle":
    from rdev.services.lifecycle import Lifecycle

    idle_stop_s = settings().idle_stop_s
    return Lifecycle(database().transaction, workspaces(), idle_stop_s=idle_stop_s)


@once
def removal() -> "Removal":
    from rdev.services.removal import Removal

    return Removal(database().transaction, workspaces())


@once
def exec_() -> "Exec":
    from rdev.services.exec import Exec

    s = settings()
    return Exec(
        database().transaction,
        tickets(),
        streams(),
        default_timeout_s=s.default_timeout_s,
        queue_depth=s.queue_depth,
        wake_runner=wake,
        enforceable=lambda: workspaces().enforceable(),
    )


@once
def input_() -> "Input":
    from rdev.services.input import Input

    return Input(database().transaction, tickets())


@once
def events() -> "Events":
    from rdev.services.ends import Ends
    from rdev.services.events import Events

    return Events(hub(), streams(), archive=archive(), ended=Ends(database().transaction).of)


@once
def hub() -> "Hub":
    from rdev.adapters.redis.feed import Feed
    from rdev.http.sse import frame
    from rdev.services.hub import Hub

    return Hub(Feed(redis_client(), redis_blocking()), frame)


@once
def event_tickets() -> "EventTickets":
    from rdev.adapters.redis.event_tickets import EventTicketStore
    from rdev.services.event_tickets import EventTickets

    return EventTickets(EventTicketStore(redis_client()))
