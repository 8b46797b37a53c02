"""A cancel that comes after a command was claimed, and before it goes back into the queue."""

import threading

import pytest

from folder_house import BY, House
from rdev.domain.commands import Status
from rdev.services.going_back import GoingBack
from rdev.services.leases import Held
from rdev.services.rules import Rules


@pytest.mark.parametrize("back", [GoingBack.wait_for, GoingBack.put_back])
def test_a_cancel_that_its_runner_has_not_heard_of_ends_it_at_once(house: House, back) -> None:
    command = house.submit()
    held = Held(house.claim())
    house.exec.cancel(BY, command.project_id, command.id)
    parts = (house.database.transaction, house.workspaces, Rules(kill_grace_s=1))
    going_back = GoingBack(*parts, threading.Event(), on_wait=lambda: None)
    ending = back(going_back, held, "The workspace is starting.")
    assert (ending.status, ending.ran) == (Status.CANCELLED, False)
