"""Where the table of routes is told once more, each read back as (pattern, function) in its order.

The table itself is shared/rdev/http/routes.py; its regular expressions are how the places that have
no patterns of their own say the same."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from rdev.http.routes import ROUTES

Told = list[tuple[str, str]]

_PATTERNS = {route.regex(): route.pattern for route in ROUTES}
CADDY = Path(sys.executable).with_name("caddy")


def in_the_table() -> Told:
    return [(route.pattern, route.function) for route in ROUTES]


def in_the_caddyfile(text: str) -> Told:
    """As Caddy itself reads it; a route without a condition takes everything."""
    done = subprocess.run(
        [CADDY, "adapt", "--adapter", "caddyfile", "--config", "-"],
        input=text.encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    (server,) = json.loads(done.stdout)["apps"]["http"]["servers"].values()
    (route,) = server["routes"]
    (ordered,) = (each for each in route["handle"] if each["handler"] == "subroute")
    return [(_condition(each), _upstream(each)) for each in ordered["routes"]]


def _condition(route: dict[str, Any]) -> str:
    if "match" not in route:
        return "/**"
    (match,) = route["match"]
    found = match["vars_regexp"]["{http.request.uri.path}"]["pattern"]
    return _pattern(re.sub(r"^\(\?s\)\^|\$$", "", found))


def _upstream(route: dict[str, Any]) -> str:
    (handler,) = (each for each in route["handle"] if each["handler"] == "reverse_proxy")
    (upstream,) = handler["upstreams"]
    return str(upstream["dial"]).removesuffix(":8080")


def in_the_openfaas_stack(text: str) -> Told:
    """Each function has its own; the order is the table's."""
    functions = yaml.safe_load(text)["functions"]
    told = [
        (pattern, name.removeprefix("rdev-"))
        for name, function in functions.items()
        for pattern in function["annotations"].get("dev.rdev.routes", "").split()
    ]
    order = [pattern for pattern, _ in in_the_table()]
    return sorted(told, key=lambda each: order.index(each[0]) if each[0] in order else -1)


def in_the_http_route(document: Any) -> Told:
    """Gateways order by what is more exact, so only what leads where is told."""
    told = []
    for rule in document["spec"]["rules"]:
        function = rule["filters"][0]["urlRewrite"]["hostname"].partition(".")[0]
        told += [(_from_match(match["path"]), function) for match in rule["matches"]]
    order = [pattern for pattern, _ in in_the_table()]
    return sorted(told, key=lambda each: order.index(each[0]) if each[0] in order else -1)


def _from_match(path: dict[str, str]) -> str:
    if path["type"] == "RegularExpression":
        return _pattern(path["value"].replace("(/.*)?", "(?:/.*)?"))
    return path["value"].rstrip("/") + "/**" if path["type"] == "PathPrefix" else path["value"]


def in_the_docs(text: str) -> Told:
    """The rows of the chapter's table: | `/keys/**` | keys |"""
    chapter = re.split(r"(?m)^## ", text.partition("## The way in\n")[2])[0]
    return re.findall(r"(?m)^\| `(/\S*)` \| (\w+) \|$", chapter)


def _pattern(regex: str) -> str:
    return _PATTERNS.get(regex, regex)


PLACES: dict[str, Callable[[str], Told]] = {
    "deploy/compose/Caddyfile": in_the_caddyfile,
    "stack.yml": in_the_openfaas_stack,
    "deploy/knative/base/route.yaml": lambda text: in_the_http_route(yaml.safe_load(text)),
    "docs/operations/install.md": in_the_docs,
}
