"""SQL of the queue: the row is the truth and the only lease.

A claim locks its key's turn first, so that the key's limit is counted by one claimer at a time,
and takes the key whose last turn is longest ago. Every later change names the epoch of its claim:
a runner that lost its lease changes nothing (`leases`). What needs no lease is in `sweeping`.
"""

from psycopg.rows import DictRow

from rdev.adapters.postgres.leases import CLAIMED, LEASE_IS_OVER, LeaseRows, claim_of, longest_s
from rdev.adapters.postgres.sweeping import SweepRows
from rdev.domain.commands import Claim, Priority

_ATTEMPTS = 3

# The projects in which no further command may start, or none yet.
_FULL = """
full_projects (id) as (
    select p.id from projects p where p.max_concurrent <= (
        select count(*) from commands r where r.project_id = p.id and r.status = 'running')
    union all select id from projects
        where claim_after is not null and claim_after > clock_timestamp()
)
"""

# Walks the distinct keys that wait by one index probe each, however long the queue is.
_NEXT_KEY = f"""
with recursive {_FULL}, waiting (key_id) as (
    (select key_id from commands where status = 'queued' and priority = %(priority)s
     order by key_id limit 1)
    union all
    select (select c.key_id from commands c where c.status = 'queued'
            and c.priority = %(priority)s and c.key_id > w.key_id order by c.key_id limit 1)
    from waiting w where w.key_id is not null
)
select t.key_id, coalesce(k.max_concurrent, %(max_concurrent)s) as max_concurrent
from waiting w
join queue_turns t on t.key_id = w.key_id
join keys k on k.id = w.key_id
where (select count(*) from commands r where r.key_id = w.key_id and r.status = 'running')
        < coalesce(k.max_concurrent, %(max_concurrent)s)
    and exists (select from commands c where c.status = 'queued' and c.priority = %(priority)s
        and c.key_id = w.key_id and c.not_before <= now()
        and c.project_id not in (select id from full_projects))
order by t.last_turn_at
limit 1
for update of t
"""  # noqa: S608 - constants

_TAKE = f"""
with {_FULL}, turn as (
    update queue_turns set last_turn_at = clock_timestamp() where key_id = %(key_id)s
)
update commands set status = 'running', epoch = epoch + 1, runner = %(runner)s,
    claimed_at = clock_timestamp(), boot_id = %(boot_id)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
where id = (
    select id from commands where status = 'queued' and priority = %(priority)s
        and key_id = %(key_id)s and not_before <= now()
        and project_id not in (select id from full_projects)
    order by id limit 1 for update skip locked
) and (select count(*) from commands r where r.key_id = %(key_id)s and r.status = 'running')
    < %(max_concurrent)s
returning {CLAIMED}, 0.0::float as running_s,
    (select p.max_concurrent from projects p where p.id = commands.project_id) as project_places
"""  # noqa: S608 - constants

# One index probe each, however long the queue is.
_FOUND = f"""
select array(
    select p.priority from (values ('high', 1), ('normal', 2), ('low', 3)) p (priority, place)
    where (select true from commands c where c.status = 'queued' and c.priority = p.priority
        and c.not_before <= now() order by c.key_id limit 1)
    order by p.place
) as waiting, exists (select from commands where {LEASE_IS_OVER}) as left_by_another
"""  # noqa: S608 - constants

_CLAIMABLE = f"""
with {_FULL}, full_keys (id) as (
    select r.key_id from commands r join keys k on k.id = r.key_id where r.status = 'running'
    group by r.key_id, k.max_concurrent
    having count(*) >= coalesce(k.max_concurrent, %(max_concurrent)s)
)
select p.priority, count(c.id) as n from (values ('high'), ('normal'), ('low')) p (priority)
left join commands c on c.priority = p.priority and c.status = 'queued' and c.not_before <= now()
    and c.key_id not in (select id from full_keys)
    and c.project_id not in (select id from full_projects)
group by p.priority
"""  # noqa: S608 - constants


class QueueRows(LeaseRows, SweepRows):
    """Port `rdev.ports.QueueTable`."""

    def claim(
        self,
        priority: Priority,
        *,
        runner: str,
        lease_s: float,
        max_concurrent: int,
        boot_id: str | None = None,
    ) -> Claim | None:
        """The fairest command of this priority that may run now, or None. `boot_id`: of the
        machine on which all workspaces are, should they be on one.

        Turns that another claimer holds are passed over first and waited for only if nothing
        else is there: skipping them for good could leave a command waiting beside a free slot.
        """
        for _ in range(_ATTEMPTS):
            turn = self._next_turn(priority, max_concurrent)
            if turn is None:
                return None
            taken = {
                **turn,
                "priority": priority,
                "runner": runner,
                "lease_s": lease_s,
                "boot_id": boot_id,
            }
            row = self._sql.execute(_TAKE, taken).fetchone()
            if row is None:
                continue  # others were faster with this key; another may wait
            if row["project_places"] is None or not self._overfills(row["project_id"]):
                return claim_of(row)
            # Undone by hand: a savepoint would cost every claim two round trips.
            self._sql.execute(
                """
                update commands set status = 'queued', epoch = epoch - 1, lease_until = null,
                    runner = null, claimed_at = null where id = %s
                """,
                (row["id"],),
            )
        return None

    def _next_turn(self, priority: Priority, max_concurrent: int) -> DictRow | None:
        parameters = {"priority": priority, "max_concurrent": max_concurrent}
        return (
            self._sql.execute(_NEXT_KEY + "skip locked", parameters).fetchone()
            or self._sql.execute(_NEXT_KEY, parameters).fetchone()
        )

    def _overfills(self, project_id: str) -> bool:
        """Whether another key's claimer, at the same time, took the project's last place."""
        project = self._sql.execute(
            """
            select max_concurrent from projects
            where id = %s and max_concurrent is not null for no key update
            """,
            (project_id,),
        ).fetchone()
        if project is None:
            return False
        running = self._sql.execute(
            "select count(*) as n from commands where project_id = %s and status = 'running'",
            (project_id,),
        ).fetchone()
        assert running is not None
        return bool(running["n"] > project["max_concurrent"])

    def look(self, *, lease_s: float) -> tuple[list[Priority], bool]:
        """The priorities in which a command waits that may be claimed, the highest first; and
        whether there is something that another runner has left."""
        row = self._sql.execute(_FOUND, {"longest_s": longest_s(lease_s)}).fetchone()
        assert row is not None
        return [Priority(priority) for priority in row["waiting"]], row["left_by_another"]

    def claimable(self, max_concurrent: int) -> dict[str, int]:
        """By priority: how many wait whose key and project have places free. `max_concurrent`:
        that of keys without one of their own."""
        rows = self._sql.execute(_CLAIMABLE, {"max_concurrent": max_concurrent})
        return {row["priority"]: row["n"] for row in rows}

    def overdue(self, older_than_s: float) -> list[Priority]:
        """The priorities below high in which a command has waited for longer than this; first the
        one in which it has been the longest, so that neither starves behind the other."""
        rows = self._sql.execute(
            """
            select p.priority from (values ('low'), ('normal')) p (priority)
            cross join lateral (
                select queued_at from commands where status = 'queued'
                    and priority = p.priority and not_before <= now() order by id limit 1
            ) oldest
            where oldest.queued_at < now() - make_interval(secs => %s)
            order by oldest.queued_at
            """,
            (older_than_s,),
        )
        return [Priority(row["priority"]) for row in rows]
