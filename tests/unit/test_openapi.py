"""The OpenAPI document and the handlers say the same."""

import inspect
import re
import subprocess
import sys
from functools import cache
from typing import Any

import flask
import functions_framework
import pytest

from rdev.config import SOURCE_ROOT
from rdev.http.envelope import STATUS
from rdev.http.operations import OPERATIONS
from rdev.http.operations.document import build
from rdev.http.operations.operation import Operation
from rdev.http.routes import FUNCTIONS, ROUTES

BY_PLACE = {(o.method, o.path): o for o in OPERATIONS}
DOCUMENT = build(OPERATIONS)


@cache
def app_of(noun: str) -> flask.Flask:
    source = str(SOURCE_ROOT / f"functions/{noun}/main.py")
    app: flask.Flask = functions_framework.create_app(noun, source)
    return app


def function_of(path: str) -> str:
    return next(r.function for r in ROUTES if re.fullmatch(r.regex(), path.replace("{", "")))


def handlers() -> dict[tuple[str, str], Any]:
    """Every method and path of every function. HEAD and OPTIONS are Flask's own."""
    found = {}
    for noun in FUNCTIONS:
        app = app_of(noun)
        for rule in app.url_map.iter_rules():
            if "." in rule.endpoint:
                path = re.sub(r"<(\w+)>", r"{\1}", rule.rule)
                if function_of(path) != noun:
                    continue  # no public route leads there: what wakes the function
                for method in rule.methods - {"HEAD", "OPTIONS"}:
                    found[method, path] = app.view_functions[rule.endpoint]
    return found


def source_of(handler: Any) -> str:
    """A handler's source with that of the module's own functions that it calls."""
    text = inspect.getsource(handler)
    called = [handler.__globals__.get(name) for name in re.findall(r"\b(_\w+)\(", text)]
    return text + "".join(inspect.getsource(f) for f in called if inspect.isfunction(f))


def test_every_route_is_an_operation_and_every_operation_a_route() -> None:
    assert set(BY_PLACE) == set(handlers())
    assert len(BY_PLACE) == len(OPERATIONS)


def test_operation_ids_are_unique() -> None:
    assert len({o.id for o in OPERATIONS}) == len(OPERATIONS)


def each(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


@pytest.mark.parametrize("operation", OPERATIONS, ids=each)
def test_a_summary_is_the_handlers_first_sentence(operation: Operation) -> None:
    handler = handlers()[operation.method, operation.path]
    if operation.handler.partition(".")[2] == handler.__name__:
        first = re.split(r"(?<=\.)\s", " ".join((handler.__doc__ or "").split()))[0]
        assert operation.summary == first
    else:  # one handler, several paths
        assert operation.id.startswith(handler.__name__)
        assert operation.summary.endswith(".")


@pytest.mark.parametrize("operation", OPERATIONS, ids=each)
def test_an_operation_needs_the_scope_that_its_handler_asks_for(operation: Operation) -> None:
    source = source_of(handlers()[operation.method, operation.path])
    asked = set(re.findall(r'require\(\s*"([\w:]+)"', source))
    assert asked == ({operation.scope} if operation.scope else set())
    assert operation.needs_key == ("require(" in source)


@pytest.mark.parametrize("operation", OPERATIONS, ids=each)
def test_an_operation_takes_the_models_that_its_handler_parses(operation: Operation) -> None:
    handler = handlers()[operation.method, operation.path]
    source = source_of(handler)
    query = re.search(r"parsing\.query\((\w+)\)", source)
    if operation.query is None:
        assert query is None
    elif query:
        assert query[1] == operation.query.__name__
    body = re.search(r"parsing\.body\((\w+)\)", source)
    if operation.body is None:
        assert "parsing.body" not in source
    elif body:
        assert body[1] == operation.body.__name__


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    if isinstance(node, list):
        return set().union(*map(references, node))
    return set()


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_every_error_code_is_a_response() -> None:
    assert set(DOCUMENT["components"]["responses"]) == set(STATUS)


def test_every_operation_says_what_a_missing_key_gets() -> None:
    for operation in OPERATIONS:
        made = DOCUMENT["paths"][operation.path][operation.method.lower()]
        assert ("401" in made["responses"]) == operation.needs_key
        assert bool(made["security"]) == operation.needs_key


def test_loading_the_functions_does_not_load_the_document() -> None:
    """It would cost each cold start."""
    source = str(SOURCE_ROOT / "functions/system/main.py")
    code = (
        "import sys, functions_framework\n"
        f"functions_framework.create_app('system', {source!r})\n"
        "sys.exit(any(name.startswith('rdev.http.operations') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
