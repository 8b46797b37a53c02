"""SQL of how everything stands: counts over what is open, which partial indexes keep short."""

import psycopg
from psycopg.rows import DictRow

# An endpoint's state, and whether what is due can be sent to it.
_STATE = """
case when e.disabled_at is not null then 'disabled' when e.paused then 'paused'
    when e.blocked_until > now() then 'blocked' else 'active' end
"""
_WHEN = f"""
case {_STATE} when 'active' then case when d.due_at <= now() then 'due' else 'later' end
    when 'blocked' then 'later' else 'held' end
"""
_PENDING = """
webhook_deliveries d join webhook_endpoints e on e.id = d.endpoint_id
where d.state = 'pending' and e.deleted_at is null
"""


class StandingRows:
    """Port `rdev.ports.standing.StandingTable`."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def backlog(self) -> dict[str, int]:
        query = f"select {_WHEN} as what, count(*) as n from {_PENDING} group by 1"  # noqa: S608
        counted = self._counts(query)
        return {"due": 0, "later": 0, "held": 0} | counted

    def oldest_due_s(self) -> float:
        return self._number(
            f"""
            select coalesce(extract(
                epoch from now() - min(greatest(d.due_at, d.created_at))), 0)::float as n
            from {_PENDING} and {_STATE} = 'active' and d.due_at <= now()
            """  # noqa: S608 - constants
        )

    def endpoints(self) -> dict[str, int]:
        counted = self._counts(
            f"select {_STATE} as what, count(*) as n from webhook_endpoints e "  # noqa: S608
            "where e.deleted_at is null group by 1"
        )
        return {"active": 0, "blocked": 0, "paused": 0, "disabled": 0} | counted

    def projects(self) -> dict[str, int]:
        counted = self._counts(
            "select case when stopped then 'stopped' else 'running' end as what, count(*) as n "
            "from projects group by 1"
        )
        return {"running": 0, "stopped": 0} | counted

    def unarchived(self) -> int:
        return int(
            self._number(
                "select count(*) as n from commands "
                "where not archived and status not in ('queued', 'running')"
            )
        )

    def _counts(self, query: str) -> dict[str, int]:
        return {row["what"]: row["n"] for row in self._sql.execute(query)}

    def _number(self, query: str) -> float:
        row = self._sql.execute(query).fetchone()
        assert row is not None
        return float(row["n"])
