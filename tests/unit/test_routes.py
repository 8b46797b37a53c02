"""The one table of routes."""

import re

import pytest

from rdev.http.prefer import wait_s
from rdev.http.routes import FUNCTIONS, ROUTES
from rdev.platform.gateway import Gateway


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


@pytest.mark.parametrize("path", ["*", "", "x", "/", "/a\nb", "/projects/p/events"])
def test_whatever_path_leads_somewhere(path: str) -> None:
    """`*` is the path of `OPTIONS *`."""
    apps = {noun: lambda *_, noun=noun: [noun.encode()] for noun in FUNCTIONS}
    (noun,) = Gateway(apps)({"PATH_INFO": path}, None)
    assert noun.decode() == ("events" if path.endswith("events") else "system")
