"""After a power cut the machine has another boot, and start tokens of the last seconds may be gone:
what may have begun is not started again, and everything else is."""

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from folder_house import ENOUGH_S, PROJECT, House, await_
from rdev.adapters.workspaces import start_token
from rdev.adapters.workspaces.launch_file import DEFAULT_PATH
from rdev.domain.commands import Command, Launch, Position, Priority, Status
from rdev.domain.events import Chunk
from rdev.ports import Liveness
from rdev.services.going_back import GoingBack
from rdev.services.leases import Held
from rdev.services.rules import Rules

BOOT_BEFORE = "the-boot-before"
LEASE_S = 0.1
_A_WHILE_S = 0.5
COUNTED = "echo started >>../count"


def begun(house: House) -> Command:
    """A command that a runner claimed and started in the boot before."""
    command = house.submit(COUNTED)
    claim = claimed(house)
    house.workspace.start(Launch(command.id, PROJECT, ("sh", "-c", COUNTED)))
    await_(lambda: house.workspace.liveness(command.id) is Liveness.ENDED)
    token = _token(house, command)
    token.write_text(token.read_text().replace(str(house.workspaces.boot_id), BOOT_BEFORE))
    assert claim.command.boot_id == BOOT_BEFORE
    return command


def claimed(house: House) -> Any:
    with house.database.transaction() as tx:
        return tx.queue.claim(
            Priority.NORMAL, runner="dead", lease_s=LEASE_S, max_concurrent=5, boot_id=BOOT_BEFORE
        )


def forget(house: House, command: Command) -> None:
    """As a power cut does of what was on no disk. Its supervisor may be at its last file."""
    folder = house.folder / "c" / PROJECT / command.id
    aside = folder.rename(folder.with_name(f".{command.id}"))
    shutil.rmtree(aside, ignore_errors=True)
    _token(house, command).unlink()


def _token(house: House, command: Command) -> Path:
    return house.folder / "c" / PROJECT / ".tokens" / command.id


def starts(house: House) -> int:
    count = house.folder / "w" / "count"
    return len(count.read_text().splitlines()) if count.exists() else 0


def test_what_may_have_begun_is_lost_and_not_started_again(house: House) -> None:
    command = begun(house)
    forget(house, command)
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert ended.reason_message is not None
    assert "machine was started anew" in ended.reason_message
    assert starts(house) == 1


def test_one_that_was_put_back_before_is_started_in_the_next_boot(house: House) -> None:
    command = house.submit(COUNTED)
    claim = claimed(house)
    with house.database.transaction() as tx:
        assert tx.queue.requeue(command.id, claim.command.epoch, delay_s=0) is not None
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.boot_id) == (Status.SUCCEEDED, house.workspaces.boot_id)
    assert starts(house) == 1


def test_the_end_of_one_whose_files_were_on_the_disk_is_its_own(house: House) -> None:
    command = begun(house)
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED
    assert starts(house) == 1


def test_a_claim_of_the_version_before_is_seen_through_as_that_would(house: House) -> None:
    command = house.submit(COUNTED)
    house.claim()  # which knows of no boots
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED


def test_what_may_have_begun_is_not_said_to_have_never_started(house: House) -> None:
    """As after a workspace that answered badly so often that the command is given up."""
    command = begun(house)
    forget(house, command)
    time.sleep(LEASE_S)
    with house.database.transaction() as tx:
        (claim,) = tx.queue.take_over(runner="r", lease_s=60, limit=1)
    going_back = GoingBack(
        house.database.transaction,
        house.workspaces,
        Rules(kill_grace_s=1),
        threading.Event(),
        on_wait=lambda: None,
    )
    assert not going_back.forestalled(Held(claim))


def test_a_launch_that_lost_its_words_never_ran(house: House) -> None:
    """Where nobody noted the boot."""
    command = house.submit(COUNTED)
    house.claim()
    folder = house.folder / "c" / PROJECT / command.id
    folder.mkdir(parents=True)
    for name in ("launch", "out", "err"):
        (folder / name).touch()
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "infrastructure")
    assert (ended.exit_code, ended.started_at) == (None, None)


def test_output_that_is_gone_from_the_workspace_has_no_wrong_hash(house: House) -> None:
    command = begun(house)
    carried = Chunk("stdout", Position(), b"x" * 80)
    house.streams.append_all(PROJECT, command.id, [carried], begun=False)
    folder = house.folder / "c" / PROJECT / command.id
    await_((folder / "synced").exists)
    for name in ("synced", "done", "exit"):
        (folder / name).unlink()
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.output.stdout) == (Status.LOST, 80)
    assert ended.stdout_sha256 is None


def held_up(house: House) -> Path:
    """Nothing is on the disk before this file is there."""
    gate, programs = house.folder / "gate", house.folder / "programs"
    programs.mkdir()
    sync = programs / "sync"
    sync.write_text(f"""#!/bin/sh
n=0
while [ ! -e {gate} ] && [ $n -lt 600 ]; do
    sleep 0.05
    n=$((n + 1))
done
exec /bin/sync "$@"
""")
    sync.chmod(0o755)
    house.refit(path=f"{programs}:{DEFAULT_PATH}")
    return gate


def test_an_end_is_recorded_once_its_output_is_on_the_disk(house: House) -> None:
    gate = held_up(house)
    house.start()
    command = over(house)
    assert house.workspace.flushed(command.id) is False
    assert house.get(command).status is Status.RUNNING
    gate.touch()
    assert house.ended(command).status is Status.SUCCEEDED


def over(house: House) -> Command:
    """One that has ended, and for whose output the disk has been a while."""
    command = house.submit("echo out")
    await_(lambda: house.workspace.liveness(command.id) is Liveness.ENDED)
    await_(lambda: house.streams.tail(PROJECT, command.id).position.stdout)
    time.sleep(_A_WHILE_S)
    return command


def test_a_runner_that_is_to_end_waits_for_no_disk(house: House) -> None:
    gate = held_up(house)
    runner = house.start(flush_s=ENOUGH_S)
    command = over(house)
    runner.stop()
    house.runners[-1][1].join(ENOUGH_S / 2)
    assert not house.runners[-1][1].is_alive()
    assert house.get(command).status is Status.RUNNING
    house.start(flush_s=ENOUGH_S)
    gate.touch()
    assert house.ended(command).status is Status.SUCCEEDED


def test_commands_whose_disk_is_slow_leave_their_slots_to_others(house: House) -> None:
    gate = held_up(house)
    house.start(slots=2, flush_s=ENOUGH_S)
    first = [house.submit("echo out") for _ in range(2)]
    third = house.submit("echo out")
    await_(lambda: house.streams.tail(PROJECT, third.id).position.stdout)
    assert {house.get(command).status for command in first} == {Status.RUNNING}
    gate.touch()
    for command in [*first, third]:
        assert house.ended(command).status is Status.SUCCEEDED


def test_a_disk_that_hangs_keeps_no_end_waiting(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    gate = held_up(house)
    house.start(flush_s=0.2)
    command = house.submit("echo out")
    assert house.ended(command).status is Status.SUCCEEDED
    assert "not on the disk" in caplog.text
    assert not gate.exists()
    gate.touch()


@pytest.mark.parametrize("befalls", ["exit 1", 'kill -9 "$PPID"'])
def test_what_is_never_put_on_the_disk_is_told(
    house: House, caplog: pytest.LogCaptureFixture, befalls: str
) -> None:
    held_up(house).touch()
    (house.folder / "programs" / "sync").write_text(f"#!/bin/sh\n{befalls}\n")
    house.start(flush_s=ENOUGH_S)
    command = house.submit("echo out")
    assert house.ended(command).status is Status.SUCCEEDED
    assert f"{command.id} ended; its output is not on the disk" in caplog.text


@pytest.mark.parametrize("cancelled", [False, True])
def test_it_is_lost_also_where_a_runner_died_as_it_saw_to_that(
    house: House,
    *,
    cancelled: bool,
) -> None:
    command = begun(house)
    forget(house, command)
    if cancelled:
        house.exec.cancel(house.by, PROJECT, command.id)
    assert house.workspace.forestall(command.id)
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert starts(house) == 1


def test_a_token_that_lost_its_words_is_no_leave_to_start(house: House) -> None:
    command = begun(house)
    forget(house, command)
    token = _token(house, command)
    token.touch()
    read = start_token.read(token, token.parent)
    assert read is not None
    assert not read.signed
    house.start()
    assert house.ended(command).status is Status.LOST
    assert starts(house) == 1
