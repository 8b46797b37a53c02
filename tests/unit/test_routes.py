"""The one table of routes."""

import re

import pytest

from rdev.config import SOURCE_ROOT
from rdev.http.operations import OPERATIONS
from rdev.http.prefer import wait_s
from rdev.http.routes import FUNCTIONS, ROUTES
from rdev.platform.gateway import Gateway
from route_places import PLACES, in_the_table


def function_of(path: str) -> str:
    return next(route.function for route in ROUTES if re.fullmatch(route.regex(), path))


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/keys", "keys"),
        ("/keys/key-1", "keys"),
        ("/keysmith", "system"),
        ("/projects", "projects"),
        ("/projects/p", "projects"),
        ("/projects/p/start", "projects"),
        ("/projects/p/shell", "exec"),
        ("/projects/p/commands", "exec"),
        ("/projects/p/commands/cmd-1/output", "exec"),
        ("/projects/p/events", "events"),
        ("/projects/p/events/ticket", "events"),
        ("/projects/shell/events", "events"),
        ("/queue", "exec"),
        ("/webhooks", "webhooks"),
        ("/webhooks/wh-1/deliveries", "webhooks"),
        ("/health", "system"),
        ("/", "system"),
        ("/nowhere/at/all", "system"),
    ],
)
def test_each_path_has_its_function(path: str, function: str) -> None:
    assert function_of(path) == function


def test_the_table_names_every_function() -> None:
    assert {route.function for route in ROUTES} == set(FUNCTIONS)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("wait=5", 5),
        ("respond-async, wait=10", 10),
        ('WAIT="7"', 7),
        ("wait=9999", 50),
        ("wait=-1", 0),
        ("wait=x", 0),
        ("wait=99999999", 0),
    ],
)
def test_prefer_wait_is_read_leniently_and_bounded(header: str, seconds: float) -> None:
    assert wait_s(header) == seconds


@pytest.mark.parametrize("place", PLACES)
def test_every_place_tells_the_same_routes(place: str) -> None:
    assert PLACES[place]((SOURCE_ROOT / place).read_text()) == in_the_table()


DRIFTS = {
    "deploy/compose/Caddyfile": {
        "another function": ("to @queue {$RDEV_EXEC:exec:", "to @queue {$RDEV_EXEC:keys:"),
        "a path more": ("/claude$", "/cloud$"),
        "another order": ("/projects/[^/]+/shell$", "/projects(?:/.*)?$"),
    },
    "stack.yml": {
        "another function": ('"/keys/**"', '"/keys/** /queue"'),
        "a path less": (" /queue", ""),
        "another path": ("/webhooks/**", "/hooks/**"),
    },
    "deploy/knative/base/route.yaml": {
        "another function": ("hostname: audit.rdev", "hostname: system.rdev"),
        "another path": ("value: '/queue'", "value: '/queues'"),
        "another type": ("{type: Exact, value: '/queue'}", "{type: PathPrefix, value: '/queue'}"),
    },
    "docs/operations/install.md": {
        "another function": ("| `/queue` | exec |", "| `/queue` | system |"),
        "a path less": ("| `/audit/**` | audit |\n", ""),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "drift"), [(place, drift) for place, drifts in DRIFTS.items() for drift in drifts]
)
def test_a_place_that_drifts_is_found(place: str, drift: str) -> None:
    text = (SOURCE_ROOT / place).read_text()
    before, after = DRIFTS[place][drift]
    assert before in text
    assert PLACES[place](text.replace(before, after)) != in_the_table()


def test_each_operation_of_the_api_is_led_to_the_function_that_has_it() -> None:
    for operation in OPERATIONS:
        path = re.sub(r"\{\w+\}", "x", operation.path)
        assert function_of(path) == operation.handler.partition(".")[0], path


@pytest.mark.parametrize("path", ["*", "", "x", "/", "/a\nb", "/projects/p/events"])
def test_whatever_path_leads_somewhere(path: str) -> None:
    """`*` is the path of `OPTIONS *`."""
    apps = {noun: lambda *_, noun=noun: [noun.encode()] for noun in FUNCTIONS}
    (noun,) = Gateway(apps)({"PATH_INFO": path}, None)
    assert noun.decode() == ("events" if path.endswith("events") else "system")
