"""However many try, and whoever forgets: a command starts at most once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rdev.errors import WorkspaceUnavailable
from rdev.ports import Liveness


def test_many_that_start_one_command_start_it_once(place):
    for attempt in range(3):
        launch = place.sh(f"echo {attempt} >>{place.file('count')}; echo out", which=f"-{attempt}")
        barrier = threading.Barrier(20)

        def start(launch=launch, barrier=barrier) -> None:
            barrier.wait()
            place.workspace.start(launch)

        with ThreadPoolExecutor(20) as pool:
            for started in [pool.submit(start) for _ in range(20)]:
                started.result()
        place.finish(f"-{attempt}")
        assert place.result(f"-{attempt}") == (0, b"out\n", b"")
    assert place.do(f"cat {place.file('count')}").split() == ["0", "1", "2"]


def test_runners_that_know_nothing_of_each_other_start_it_once(place):
    launch = place.sh(f"echo x >>{place.file('count')}; cat {place.file('count')}")
    with place.of_another() as one, place.of_another() as two:
        barrier = threading.Barrier(2)

        def start(runner) -> None:
            barrier.wait()
            runner.workspace.start(launch)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(start, (one, two)))
        place.finish()
    assert place.result() == (0, b"x\n", b"")


def test_a_second_start_does_nothing(place):
    launch = place.sh(f"echo x >>{place.file('count')}; cat {place.file('count')}")
    place.run(launch)
    assert place.run(launch) == (0, b"x\n", b"")


def test_forestalled_before_the_start_it_never_starts(place):
    assert place.workspace.forestall(place.id())
    assert place.workspace.forestall(place.id())
    for _ in range(2):
        place.workspace.start(place.sh(f": >{place.file('ran')}"))
        assert place.workspace.liveness(place.id()) is Liveness.CANCELLED
    assert place.do(f"[ -e {place.file('ran')} ] || echo none") == "none\n"


def test_forestalling_what_started_is_told_so(place):
    place.run(place.launch("true"))
    assert not place.workspace.forestall(place.id())


def test_forestalling_races_with_the_start_to_one_truth(place):
    for attempt in range(10):
        ran, which = place.file(f"ran-{attempt}"), f"-{attempt}"
        place.workspace.start(place.sh(f": >{ran}", which=which))
        cancelled = place.workspace.forestall(place.id(which))
        over = place.until_over(which)
        assert over is (Liveness.CANCELLED if cancelled else Liveness.ENDED)
        seen = place.do(f"if [ -e {ran} ]; then echo ran; fi")
        assert seen == ("" if cancelled else "ran\n")


def test_start_after_clean_does_nothing(place):
    launch = place.sh(f"echo x >>{place.file('count')}")
    place.run(launch)
    place.workspace.clean(place.id())
    place.workspace.clean(place.id())
    place.workspace.start(launch)
    assert place.workspace.read(place.id(), "stdout", 0, 1) == b""
    assert place.do(f"cat {place.file('count')}") == "x\n"


def test_what_was_cleaned_up_leaves_no_output(place):
    place.run(place.sh("echo hi"))
    place.workspace.clean(place.id())
    assert place.workspace.read(place.id(), "stdout", 0, 100) == b""
    assert place.workspace.exit(place.id()) is None


def test_nothing_starts_in_a_workspace_that_is_not_there(place):
    with pytest.raises(WorkspaceUnavailable):
        place.target.workspaces.of(f"none-{place.name}").start(place.launch("true"))
