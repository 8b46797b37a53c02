"""One look at a dependency, whoever asks."""

import threading

import pytest

from live_stack import wait_for
from rdev.errors import StoreUnavailable
from rdev.services.readiness import Dependency, Look, readiness


class Store:
    """Answers, refuses or hangs, and counts how often it is asked, and by how many at once."""

    def __init__(self) -> None:
        self.asked = 0
        self.let_go = threading.Event()
        self.let_go.set()
        self.refuses = False

    def ask(self) -> None:
        self.asked += 1
        self.let_go.wait(60)
        if self.refuses:
            raise StoreUnavailable("It refuses.")


@pytest.fixture
def store():
    store = Store()
    yield store
    store.let_go.set()


def probes(look: Look, count: int) -> list[str | None]:
    reasons: list[str | None] = []

    def probe() -> None:
        look.begin()
        reasons.append(look.reason())

    threads = [threading.Thread(target=probe) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return reasons


def readers() -> int:
    return sum(thread.name == "readiness" for thread in threading.enumerate())


def test_many_probes_at_once_are_one_question(store: Store) -> None:
    assert probes(Look(store.ask, fresh_s=3600), 50) == [None] * 50
    assert store.asked == 1


def test_an_outcome_is_asked_for_anew_once_it_is_old(store: Store) -> None:
    look = Look(store.ask, fresh_s=0)
    assert probes(look, 1) == [None]
    store.refuses = True
    assert probes(look, 1) == ["It refuses."]
    store.refuses = False
    assert probes(look, 1) == [None]


def test_what_hangs_is_waited_for_once_and_keeps_one_thread(store: Store) -> None:
    store.let_go.clear()
    look, before = Look(store.ask, limit_s=0.1, fresh_s=0), readers()
    for _ in range(5):
        assert all(reason and "has not answered" in reason for reason in probes(look, 20))
    assert (store.asked, readers() - before) == (1, 1)
    store.let_go.set()
    wait_for(lambda: probes(look, 1) == [None])


def test_what_hangs_does_not_hold_up_the_answer_about_others(store: Store) -> None:
    store.let_go.clear()
    well = Store()
    status, checks = readiness(
        {
            "one": Dependency(Look(store.ask, limit_s=0.1)),
            "other": Dependency(Look(well.ask), breaker=lambda: "open"),
        }
    )
    assert status == "unavailable"
    assert checks["one"]["status"] == "unavailable"
    assert checks["other"] == {"status": "ok", "breaker": "open"}


def test_what_is_not_needed_only_degrades(store: Store) -> None:
    store.refuses = True
    status, checks = readiness({"archive": Dependency(Look(store.ask), needed=False)})
    assert status == "degraded"
    assert checks == {"archive": {"status": "unavailable", "reason": "It refuses."}}


def test_an_error_of_another_kind_tells_its_name_alone() -> None:
    def ask() -> None:
        raise ValueError("postgresql://user:secret@host")

    _, checks = readiness({"one": Dependency(Look(ask))})
    assert "secret" not in str(checks)
    assert "ValueError" in checks["one"]["reason"]
