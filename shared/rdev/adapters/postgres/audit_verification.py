"""The audit log checked against its chain, page by page, in one snapshot."""

import hashlib
import json
import math
import time
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import DictRow

from rdev.domain.audit import Verdict, at_of
from rdev.domain.audit_progress import Progress
from rdev.errors import Conflict

_PAGE = 1000
_REPEATED = ("action", "key_id", "address", "project", "subject", "outcome")
"""What columns of the log say once more, under the entry's names."""
_LATE = timedelta(days=1)
"""Far more than any transaction is open, or clocks differ."""


class _Broken(Exception):
    """The chain does not hold; what was found, and at which row."""

    def __init__(self, problem: str, seq: int | None) -> None:
        self.problem = problem
        self.seq = seq
        super().__init__(problem)


def verify(
    sql: psycopg.Connection[DictRow],
    known_position: int | None = None,
    known_hash: str | None = None,
    *,
    after: Progress | None = None,
    for_s: float = math.inf,
) -> Verdict:
    """Every row, in the order of the chain, and then every row that no chain holds; for `for_s`
    seconds, and at least a page. Memory is that of a page, and each statement is short, however
    long the log. Raises Conflict where retention has cut the log past `after`."""
    ends_at = time.monotonic() + for_s
    sql.execute("set transaction isolation level repeatable read, read only")
    # A page is a walk along the indexes, also where the tables' statistics are old.
    for other in ("hashjoin", "mergejoin"):
        sql.execute(f"set local enable_{other} = off")
    head, problem, seq = after or Progress(), None, None
    try:
        if after is None:
            _begin(sql, head, known_position, known_hash)
        else:
            _go_on(sql, head)
        while (more := _next_page(sql, head, known_position, known_hash)) and (
            time.monotonic() < ends_at
        ):
            pass
    except _Broken as found:
        problem, seq, more = found.problem, found.seq, False
    row = sql.execute("select count(*) as unsealed from audit_unsealed").fetchone()
    assert row is not None
    return Verdict(
        ok=None if more else problem is None,
        problem=problem,
        first_bad_seq=seq,
        checked=head.checked,
        unsealed=int(row["unsealed"]),
        head_position=head.position,
        head_hash=head.hash.hex(),
        rest=head if more else None,
    )


def _next_page(
    sql: psycopg.Connection[DictRow], head: Progress, known: int | None, known_hash: str | None
) -> bool:
    """Whether there may be more."""
    if head.chain_done:
        return _refuse_strays(sql, head)
    if not _check_page(sql, head, known, known_hash):
        if known is not None and known > head.position:
            raise _Broken(f"the chain ends before position {known}", None)
        _refuse_torn(sql)
        head.chain_done = True
    return True


def _go_on(sql: psycopg.Connection[DictRow], head: Progress) -> None:
    """Where an earlier check stopped: what it found to hold must lie before what is checked now."""
    row = sql.execute(
        """
        select (select max(position) from audit_cuts) as cut, coalesce(
            (select hash from audit_chain where position = %(position)s),
            (select hash from audit_cuts where position = %(position)s)) as hash
        """,
        {"position": head.position},
    ).fetchone()
    assert row is not None
    if row["cut"] is not None and row["cut"] > head.position:
        raise Conflict("Retention has cut the log past where the check stopped: begin anew.")
    if head.position and row["hash"] != head.hash:
        raise _Broken(f"the chain at position {head.position} was changed meanwhile", None)


def _begin(
    sql: psycopg.Connection[DictRow], head: Progress, known: int | None, known_hash: str | None
) -> None:
    """From where retention has cut last."""
    cut = sql.execute(
        "select position, hash from audit_cuts order by position desc limit 1"
    ).fetchone()
    if cut is not None:
        head.position, head.hash = cut["position"], cut["hash"]
    outside = sql.execute(
        "select seq from audit_chain where position <= %s order by position limit 1",
        (head.position,),
    ).fetchone()
    if outside is not None:
        raise _Broken(
            f"row {outside['seq']} lies before the beginning of the chain", outside["seq"]
        )
    if known is not None and known < head.position:
        raise _Broken(
            f"retention has cut the chain after position {known}: compare a later head", None
        )
    _compare(head, known, known_hash, None)


def _check_page(
    sql: psycopg.Connection[DictRow], head: Progress, known: int | None, known_hash: str | None
) -> bool:
    """Whether there was anything to check."""
    rows = sql.execute(
        """
        select c.position, c.seq, c.hash, l.seq is null as removed, l.at, l.entry, l.action,
            l.key_id, l.address, l.project_id as project, l.subject, l.outcome
        from audit_chain c left join audit_log l on l.seq = c.seq
        where c.position > %s order by c.position limit %s
        """,
        (head.position, _PAGE),
    ).fetchall()
    for row in rows:
        _check(row, head)
        _compare(head, known, known_hash, row["seq"])
    return bool(rows)


def _check(row: dict[str, Any], head: Progress) -> None:
    position, seq = row["position"], row["seq"]
    if position != head.position + 1:
        raise _Broken(f"position {head.position + 1} of the chain is missing", seq)
    if row["removed"]:
        raise _Broken(f"row {seq} was removed", seq)
    entry = row["entry"].encode()
    content = hashlib.sha256(entry).digest()
    numbers = position.to_bytes(8, "big", signed=True) + seq.to_bytes(8, "big", signed=True)
    expected = hashlib.sha256(head.hash + numbers + content).digest()
    if expected != row["hash"]:
        raise _Broken(f"row {seq}, or the chain at position {position}, was changed", seq)
    if not _columns_hold(row):
        raise _Broken(f"row {seq}: a column is not what its entry says", seq)
    _check_time(row["at"], seq, head)
    head.position, head.hash = position, expected
    head.checked += 1


def _check_time(at: datetime, seq: int, head: Progress) -> None:
    """The database gives a row its number and its time in one moment, and it is sealed soon after
    its commit. One that was put in later by hand has a time or a number that does not fit there."""
    if head.newest is not None and at < head.newest - _LATE:
        raise _Broken(f"row {seq} was put in later than it says", seq)
    if head.settled is not None and seq < head.settled:
        raise _Broken(f"row {seq} was put in among the numbers of older rows", seq)
    head.newest = at if head.newest is None else max(at, head.newest)
    today = at.toordinal()
    head.last_seqs[today] = max(seq, head.last_seqs.get(today, seq))
    for day in [day for day in head.last_seqs if day < today - 1]:
        last = head.last_seqs.pop(day)
        head.settled = last if head.settled is None else max(last, head.settled)


def _columns_hold(row: dict[str, Any]) -> bool:
    """Not asked of Postgres: an entry that is no JSON any more would end the whole statement."""
    try:
        said = json.loads(row["entry"])
        return row["at"] == at_of(said) and all(row[name] == said.get(name) for name in _REPEATED)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _compare(head: Progress, known: int | None, known_hash: str | None, seq: int | None) -> None:
    if known == head.position and known_hash is not None and head.hash.hex() != known_hash.lower():
        raise _Broken(f"the chain was rebuilt: position {known} had another hash", seq)


def _refuse_torn(sql: psycopg.Connection[DictRow]) -> None:
    """Rows that wait for a seal and are gone, or have it."""
    twice = sql.execute(
        "select min(u.seq) as seq from audit_unsealed u join audit_chain c on c.seq = u.seq"
    ).fetchone()
    if twice is not None and twice["seq"] is not None:
        raise _Broken(f"row {twice['seq']} waits for a seal that it has", twice["seq"])
    gone = sql.execute(
        """
        select min(u.seq) as seq from audit_unsealed u left join audit_log l on l.seq = u.seq
        where l.seq is null
        """
    ).fetchone()
    if gone is not None and gone["seq"] is not None:
        raise _Broken(f"row {gone['seq']} was removed before it was sealed", gone["seq"])


def _refuse_strays(sql: psycopg.Connection[DictRow], head: Progress) -> bool:
    """Rows that are neither in the chain nor waiting to be. Whether there may be more."""
    page = sql.execute(
        """
        select max(seq) as last, min(seq) filter (where stray) as stray from (
            select l.seq, c.seq is null and u.seq is null as stray
            from (select seq from audit_log where %(after)s::bigint is null
                or seq > %(after)s order by seq limit %(page)s) l
            left join audit_chain c on c.seq = l.seq
            left join audit_unsealed u on u.seq = l.seq) rows
        """,
        {"after": head.walked, "page": _PAGE},
    ).fetchone()
    assert page is not None
    if page["stray"] is not None:
        raise _Broken(f"row {page['stray']} was put in past the chain", page["stray"])
    if page["last"] is None:
        return False
    head.walked = page["last"]
    return True
