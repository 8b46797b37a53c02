"""The operations of `functions/events`."""

from rdev.http import models
from rdev.http.operations import records
from rdev.http.operations.headers import LAST_EVENT_ID
from rdev.http.operations.operation import Answer, Operation, one

# What one event is; OpenAPI 3.1 has no way to say "a stream of these".
EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Resume after it."},
        "event": {"type": "string", "description": "`output`, `command.finished` and so on."},
        "data": {"type": "string", "description": "One line of JSON."},
        "retry": {"type": ["integer", "string"]},
    },
}

OPERATIONS = (
    Operation(
        "GET",
        "/projects/{project_id}/events",
        "events.stream",
        "Stream events: of a command with `stream_id`, else of the whole project.",
        {
            200: Answer(
                "Server-sent events, each with an id to resume after.",
                raw={"text/event-stream": EVENT},
            ),
            204: Answer("The stream is over, and you have all of it: do not come back."),
        },
        scope="projects:read",
        takes_ticket=True,
        query=models.EventsQuery,
        headers=(LAST_EVENT_ID,),
        description="Resumes after `Last-Event-ID` or `?after=`; without either it begins at the "
        "beginning with `stream_id`, live without. A browser's EventSource sends a `ticket`.",
    ),
    Operation(
        "POST",
        "/projects/{project_id}/events/ticket",
        "events.create_ticket",
        "A ticket for `?ticket=`, since a browser's EventSource can send no key.",
        {201: one(records.EventTicket, "The ticket.")},
        scope="projects:read",
        description="It opens one stream of this project, once, within 60 seconds.",
    ),
)
