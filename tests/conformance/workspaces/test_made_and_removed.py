"""Making and removing a workspace, as what makes and deletes projects relies on it."""

from uuid import uuid4

import pytest

from conformance.workspaces.place import ENOUGH_S, Place
from conformance.workspaces.targets import Target
from live_stack import wait_for
from rdev.errors import NotFound


@pytest.fixture
def name(target: Target) -> str:
    if target.make:
        pytest.skip("rdev neither makes nor removes what others made")
    return f"suite-{uuid4().hex[:8]}"


def nothing() -> None:
    """What is meant has not changed."""


def no_longer_meant() -> None:
    raise NotFound("no longer meant")


def await_running(target: Target, name: str) -> None:
    wait_for(lambda: target.workspaces.wait_running(name, ENOUGH_S).running)


def test_it_is_there_from_when_it_is_made_until_it_is_removed(target, name):
    workspaces = target.workspaces
    assert not workspaces.is_there(name)
    with target.project(name):
        assert workspaces.is_there(name)
        with target.another() as others:
            assert others.is_there(name)
            others.delete(name, nothing)
        assert not workspaces.is_there(name)
    assert not workspaces.is_there(name)


def test_made_twice_it_stays_and_removed_twice_is_no_error(target, name):
    with target.project(name):
        await_running(target, name)
        place = Place(target, name, "once")
        place.do("echo x >mine")
        target.workspaces.create(name, git_url=None)
        assert place.do("cat mine") == "x\n"
        target.workspaces.delete(name, nothing)
        target.workspaces.delete(name, nothing)


def test_what_is_no_longer_meant_to_be_removed_stays(target, name):
    with target.project(name):
        await_running(target, name)
        Place(target, name, "once").do("echo x >mine")
        with pytest.raises(NotFound):
            target.workspaces.delete(name, no_longer_meant)
        assert Place(target, name, "again").do("cat mine") == "x\n"


def test_made_again_at_once_it_has_nothing_of_the_one_before(target, name):
    with target.project(name):
        await_running(target, name)
        Place(target, name, "once").do("echo x >mine")
        target.workspaces.delete(name, nothing)
        target.workspaces.create(name, git_url=None)
        await_running(target, name)
        assert Place(target, name, "again").do("ls -A") == ""


def test_two_processes_may_be_at_it_one_after_the_other(target, name):
    with target.another() as others:
        for workspaces in (target.workspaces, others):
            with workspaces.alone(name):
                workspaces.create(name, git_url=None)
                workspaces.delete(name, nothing)
