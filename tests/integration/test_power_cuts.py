"""After a power cut the machine has another boot, and start tokens of the last seconds may be gone:
what may have begun is not started again, and everything else is."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from test_runner import PROJECT, House, await_, house  # noqa: F401 - a fixture

from rdev.adapters.workspaces import start_token
from rdev.domain.commands import Command, Launch, Priority, Status
from rdev.ports import Liveness

BOOT_BEFORE = "the-boot-before"
COUNTED = "echo started >>../count"


def begun(house: House) -> Command:  # noqa: F811
    """A command that a runner claimed and started in the boot before."""
    command = house.submit(COUNTED)
    claim = claimed(house)
    house.workspace.start(Launch(command.id, PROJECT, ("sh", "-c", COUNTED)))
    await_(lambda: house.workspace.liveness(command.id) is Liveness.ENDED)
    token = _token(house, command)
    token.write_text(token.read_text().replace(str(house.workspaces.boot_id), BOOT_BEFORE))
    assert claim.command.boot_id == BOOT_BEFORE
    return command


def claimed(house: House) -> Any:  # noqa: F811
    with house.database.transaction() as tx:
        return tx.queue.claim(
            Priority.NORMAL, runner="dead", lease_s=0.1, max_concurrent=5, boot_id=BOOT_BEFORE
        )


def forget(house: House, command: Command) -> None:  # noqa: F811
    """As a power cut does of what was on no disk."""
    shutil.rmtree(house.folder / "c" / PROJECT / command.id)
    _token(house, command).unlink()


def _token(house: House, command: Command) -> Path:  # noqa: F811
    return house.folder / "c" / PROJECT / ".tokens" / command.id


def starts(house: House) -> int:  # noqa: F811
    count = house.folder / "w" / "count"
    return len(count.read_text().splitlines()) if count.exists() else 0


def test_what_may_have_begun_is_lost_and_not_started_again(house: House) -> None:  # noqa: F811
    command = begun(house)
    forget(house, command)
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert ended.reason_message is not None
    assert "machine was started anew" in ended.reason_message
    assert starts(house) == 1


def test_one_that_was_put_back_before_is_started_in_the_next_boot(house: House) -> None:  # noqa: F811
    command = house.submit(COUNTED)
    claim = claimed(house)
    with house.database.transaction() as tx:
        assert tx.queue.requeue(command.id, claim.command.epoch, delay_s=0) is not None
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.boot_id) == (Status.SUCCEEDED, house.workspaces.boot_id)
    assert starts(house) == 1


def test_the_end_of_one_whose_files_were_on_the_disk_is_its_own(house: House) -> None:  # noqa: F811
    command = begun(house)
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED
    assert starts(house) == 1


def test_a_claim_of_the_version_before_is_seen_through_as_that_would(house: House) -> None:  # noqa: F811
    command = house.submit(COUNTED)
    house.claim()  # which knows of no boots
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED


@pytest.mark.parametrize("cancelled", [False, True])
def test_it_is_lost_also_where_a_runner_died_as_it_saw_to_that(
    house: House,  # noqa: F811
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


def test_a_token_that_lost_its_words_is_no_leave_to_start(house: House) -> None:  # noqa: F811
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
