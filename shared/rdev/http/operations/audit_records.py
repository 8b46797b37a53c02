"""What the audit log's answers look like; see `records`."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from rdev.http.operations.records import Record


class AuditRow(Record):
    """What was done, by which key, from where, in which request, and what became of it."""

    seq: Annotated[int, Field(description="Grows with time; also the cursor.")]
    at: datetime
    action: str
    key_id: str | None
    key_name: str | None
    address: str | None
    request_id: str | None
    project: str | None
    subject: Annotated[str | None, Field(description="The id of what it is about.")]
    outcome: Annotated[str | None, Field(description="A status, or an error's code.")]
    details: dict[str, Any]
    position: Annotated[int | None, Field(description="In the chain; null: not sealed yet.")]
    hash: str | None


class ChainHead(Record):
    """Keep it elsewhere: whoever can rewrite the database can rebuild the chain, but not this."""

    position: Annotated[int, Field(ge=0)]
    hash: str


class Verdict(Record):
    """What the check found. `first_bad_seq` is the first row that is not what was written."""

    ok: Annotated[
        bool | None,
        Field(description="Null: nothing wrong so far, and there is more behind `next_cursor`."),
    ]
    problem: str | None
    first_bad_seq: int | None
    checked: Annotated[int, Field(ge=0)]
    unsealed: Annotated[int, Field(ge=0)]
    head: ChainHead
    next_cursor: Annotated[
        str | None, Field(description="Send it as `cursor`; null: all was checked.")
    ]
