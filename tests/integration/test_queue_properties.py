"""The queue's SQL against a plain model, through random interleavings on the real Postgres."""

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row

from rdev.adapters.postgres.commands import CommandRows
from rdev.adapters.postgres.queue import QueueRows
from rdev.domain.commands import Claim, Ending, Kind, Priority, Status, Stopping, Submission

KEYS = {"key-a": 1, "key-b": 2, "key-c": None}
DEFAULT_LIMIT = 3
LONG_S = 1000.0
MOST_WAIT_S = 7.0


@dataclass
class Row:
    """What the model knows of one command."""

    key: str
    priority: Priority
    status: str = "queued"
    epoch: int = 0
    failures: int = 0
    waits: bool = False
    """Put back, and not to be claimed yet."""
    looks: int = 0
    alone_s: float = 0.0
    """How often its workspace was not there."""
    over: bool = False
    """Its lease is over."""
    handed_over: bool = False
    """For its runner gave it back."""
    cancel: bool = False
    started: bool = False


class QueueMachine(RuleBasedStateMachine):
    """Each rule does one thing to the table and to the model, and compares what came of it."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.sql = psycopg.connect(self.url, row_factory=dict_row, autocommit=True)
        self.sql.execute("truncate commands, queue_turns, keys cascade")
        self.queue, self.commands = QueueRows(self.sql), CommandRows(self.sql)
        for n, (key_id, limit) in enumerate(KEYS.items()):
            self.sql.execute(
                "insert into keys (id, name, hint, secret_hash, scopes, max_concurrent) "
                "values (%s, %s, '', %s, '{admin}', %s)",
                (key_id, key_id, bytes([n]), limit),
            )
        self.rows: dict[str, Row] = {}
        self.claims: list[tuple[str, int]] = []
        self.turns: list[str] = []
        self.numbers = itertools.count()

    def teardown(self) -> None:
        self.sql.close()

    # --- what callers do -------------------------------------------------------------------------

    @rule(key=st.sampled_from(list(KEYS)), priority=st.sampled_from(list(Priority)))
    def submit(self, key: str, priority: Priority) -> None:
        command_id = f"cmd-{next(self.numbers):06}"
        spec = {"command": "true"}
        asked = Submission(command_id, "demo", key, Kind.SHELL, priority, spec, timeout_s=60)
        self.commands.insert(asked)
        self.rows[command_id] = Row(key, priority)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        command_id = self._any(data)
        row = self.rows[command_id]
        done = self.commands.cancel_queued(command_id)
        assert (done is not None) == (row.status == "queued")
        if done is not None:
            row.status, row.epoch = "cancelled", row.epoch + 1
            return
        asked = self.commands.ask_to_cancel(command_id)
        assert asked == (row.status == "running")
        row.cancel = row.cancel or asked

    @precondition(lambda self: any(row.status == "queued" for row in self.rows.values()))
    @rule(data=st.data())
    def queue_timeout(self, data: st.DataObject) -> None:
        command_id = self._any(data, "queued")
        self.sql.execute(
            "update commands set queue_timeout_s = 1, queued_at = now() - interval '1 h' "
            "where id = %s",
            (command_id,),
        )
        ended = self.queue.expire_waiting()
        assert [(each.id, each.reason, each.started_at) for each in ended] == [
            (command_id, "queue_timeout", None)
        ]
        self.rows[command_id].status = "failed"
        self.rows[command_id].epoch += 1

    # --- what runners do -------------------------------------------------------------------------

    @rule(priority=st.sampled_from(list(Priority)))
    def claim(self, priority: Priority) -> None:
        claim = self.queue.claim(priority, runner="r", lease_s=LONG_S, max_concurrent=DEFAULT_LIMIT)
        eligible = self._eligible(priority)
        if claim is None:
            assert not eligible
            return
        row = self.rows[claim.command.id]
        assert row.key in eligible, "more than the key may run at once"
        assert claim.command.id == eligible[row.key], "not the oldest of its key"
        fairest = min(eligible, key=self._last_turn)
        assert self._last_turn(row.key) == self._last_turn(fairest), "not its turn"
        self.turns.append(row.key)
        row.status, row.over = "running", False
        self._claimed(claim, row)

    @rule()
    def take_over(self) -> None:
        claims = self.queue.take_over(runner="s", lease_s=LONG_S, limit=1)
        over = {i for i, row in self.rows.items() if row.status == "running" and row.over}
        assert bool(claims) == bool(over)
        for claim in claims:
            assert claim.command.id in over, "a lease that was not over"
            assert claim.handed_over == self.rows[claim.command.id].handed_over
            self.rows[claim.command.id].over = False
            self._claimed(claim, self.rows[claim.command.id])

    @precondition(lambda self: any(row.status == "running" for row in self.rows.values()))
    @rule(data=st.data())
    def lease_runs_out(self, data: st.DataObject) -> None:
        command_id = self._any(data, "running")
        self.sql.execute(
            "update commands set lease_until = now() - interval '1 s' where id = %s", (command_id,)
        )
        self.rows[command_id].over, self.rows[command_id].handed_over = True, False

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        held = data.draw(st.lists(st.sampled_from(self.claims), min_size=1, unique=True))
        answer = self.queue.renew(held, lease_s=LONG_S)
        ours = {i for i, epoch in held if self._holds(i, epoch)}
        assert set(answer) == ours
        for command_id in ours:
            assert answer[command_id] == self.rows[command_id].cancel
            self.rows[command_id].over = False

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        command_id, epoch = data.draw(st.sampled_from(self.claims))
        self.queue.release([(command_id, epoch)])
        if self._holds(command_id, epoch):
            self.rows[command_id].over = self.rows[command_id].handed_over = True

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def started(self, data: st.DataObject) -> None:
        command_id, epoch = data.draw(st.sampled_from(self.claims))
        ours = self._holds(command_id, epoch)
        assert (self.queue.started(command_id, epoch) is not None) == ours
        self.rows[command_id].started = self.rows[command_id].started or ours

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), later=st.booleans())
    def requeue(self, data: st.DataObject, *, later: bool) -> None:
        command_id, epoch = data.draw(st.sampled_from(self.claims))
        row = self.rows[command_id]
        back = self.queue.requeue(command_id, epoch, delay_s=LONG_S if later else -1)
        may = self._holds(command_id, epoch) and not row.started and not row.cancel
        assert (back is not None) == may
        if may:
            row.status, row.failures, row.waits = "queued", row.failures + 1, later
            assert back == row.failures

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), alone_s=st.sampled_from([0.0, 30.0]))
    def wait(self, data: st.DataObject, alone_s: float) -> None:
        command_id, epoch = data.draw(st.sampled_from(self.claims))
        row = self.rows[command_id]
        waited_s = self.queue.wait(
            command_id, epoch, "The workspace is starting.", most_s=MOST_WAIT_S, alone_s=alone_s
        )
        may = self._holds(command_id, epoch) and not row.started and not row.cancel
        assert (waited_s is not None) == may
        if may:
            row.status, row.waits, row.looks = "queued", False, row.looks + 1
            row.alone_s += alone_s
            assert row.alone_s <= waited_s <= row.alone_s + MOST_WAIT_S * (row.looks - 1)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def stopping(self, data: st.DataObject) -> None:
        command_id, epoch = data.draw(st.sampled_from(self.claims))
        stop = Stopping(Status.TIMED_OUT, "timeout")
        assert self.queue.stopping(command_id, epoch, stop) == self._holds(command_id, epoch)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), status=st.sampled_from([Status.SUCCEEDED, Status.FAILED, Status.LOST]))
    def finish(self, data: st.DataObject, status: Status) -> None:
        command_id, epoch = data.draw(st.sampled_from(self.claims))
        ours = self._holds(command_id, epoch)
        closed = self.queue.finish(command_id, epoch, Ending(status, exit_code=0))
        assert (closed is not None) == ours
        if ours:
            self.rows[command_id].status = status

    @rule()
    def time_goes_by(self) -> None:
        self.sql.execute(
            "update commands set not_before = '-infinity', looked_at = looked_at - interval '1 h' "
            "where status = 'queued'"
        )
        for row in self.rows.values():
            row.waits = False

    @rule()
    def clock_is_set_back(self) -> None:
        """For what waits: its times lie ahead then."""
        self.sql.execute(
            "update commands set not_before = not_before + interval '1 h', "
            "queued_at = queued_at + interval '1 h', looked_at = looked_at + interval '1 h' "
            "where status = 'queued'"
        )
        self.queue.rebase_waiting()
        for row in self.rows.values():
            row.waits = False

    # --- what must always hold -------------------------------------------------------------------

    @invariant()
    def the_table_is_as_the_model_says(self) -> None:
        stored = self.sql.execute("select id, status, epoch, failures from commands").fetchall()
        assert {
            each["id"]: (each["status"], each["epoch"], each["failures"]) for each in stored
        } == {
            command_id: (row.status, row.epoch, row.failures)
            for command_id, row in self.rows.items()
        }

    @invariant()
    def no_key_runs_more_than_it_may(self) -> None:
        for key, limit in KEYS.items():
            assert self._running(key) <= (limit or DEFAULT_LIMIT)

    @invariant()
    def what_could_be_claimed_is_told(self) -> None:
        free = [
            row.priority
            for row in self.rows.values()
            if row.status == "queued" and not row.waits
            if self._running(row.key) < (KEYS[row.key] or DEFAULT_LIMIT)
        ]
        told = self.queue.claimable(DEFAULT_LIMIT)
        assert told == {priority.value: free.count(priority) for priority in Priority}

    def _claimed(self, claim: Claim, row: Row) -> None:
        row.epoch += 1
        assert claim.command.epoch == row.epoch
        assert claim.failures == row.failures
        assert (claim.command.cancel_requested_at is not None) == row.cancel
        self.claims.append((claim.command.id, row.epoch))

    def _any(self, data: st.DataObject, status: str | None = None) -> str:
        fitting = [i for i, row in self.rows.items() if status in (None, row.status)]
        return data.draw(st.sampled_from(fitting))

    def _holds(self, command_id: str, epoch: int) -> bool:
        row = self.rows[command_id]
        return row.status == "running" and row.epoch == epoch

    def _running(self, key: str) -> int:
        return sum(row.key == key and row.status == "running" for row in self.rows.values())

    def _last_turn(self, key: str) -> int:
        return max((n for n, turn in enumerate(self.turns) if turn == key), default=-1)

    def _eligible(self, priority: Priority) -> dict[str, str]:
        """By key that may run one more: its oldest command of this priority."""
        found: dict[str, str] = {}
        for command_id, row in self.rows.items():
            free = self._running(row.key) < (KEYS[row.key] or DEFAULT_LIMIT)
            if row.status == "queued" and row.priority is priority and free and not row.waits:
                found.setdefault(row.key, command_id)
        return found


def run_machine(url: str, *, max_examples: int = 60, shrink: bool = True) -> None:
    """In a process of its own too: safeguards are read when rdev is imported."""
    QueueMachine.url = url
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=max_examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


@pytest.mark.slow
def test_the_queue_does_as_its_model_in_any_order(database_url: str) -> None:
    run_machine(database_url)


@pytest.mark.slow
def test_without_the_epoch_check_the_model_notices(database_url: str) -> None:
    # It ends at the first example that shows it: one in thirty or so.
    search = "t.run_machine(sys.argv[1], max_examples=1000, shrink=False)"
    code = f"import sys, test_queue_properties as t; {search}"
    unsafe = {"RDEV_UNSAFE": "epoch", "RDEV_CHAOS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, database_url],
        env={**os.environ, **unsafe},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode != 0
    assert "AssertionError" in done.stderr, done.stderr


def test_a_safeguard_cannot_be_turned_off_outside_a_chaos_run() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import rdev.failpoints"],
        env={"PATH": os.environ["PATH"], "RDEV_UNSAFE": "epoch"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "RDEV_UNSAFE is for tests/chaos alone" in done.stderr
