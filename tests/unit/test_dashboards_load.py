"""Dashboards as Grafana's own model has them: all that is in our files means something to it."""

import copy
import json
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import yaml

from changed_document import change
from grafana_model import problems
from rdev.config import SOURCE_ROOT

PLACE = SOURCE_ROOT / "deploy/grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(PLACE.glob("*.json"))}


@pytest.mark.parametrize("name", BOARDS)
def test_grafana_has_all_of_a_dashboard_as_it_is_written(name: str) -> None:
    assert problems(BOARDS[name]) == []


def of(*path: Any, put: Any = None) -> Callable[[dict[str, Any]], None]:
    """Puts a value somewhere; without one it takes away what is there."""

    return lambda board: change(board, path, put)


FIRST = ("panels", 0)
BROKEN = {
    "a panel that Grafana dropped": of(*FIRST, "type", put="graph"),
    "a unit that there is not": of(*FIRST, "fieldConfig", "defaults", "unit", put="commands"),
    "a misspelt option": of(*FIRST, "options", "tooltips", put={}),
    "an option below that": of(*FIRST, "options", "legend", "position", put="bottom"),
    "a mode that there is not": of(*FIRST, "options", "tooltip", "mode", put="everything"),
    "a look that there is not": of(
        *FIRST, "fieldConfig", "defaults", "custom", "showPoints", put="sometimes"
    ),
    "a query's unknown field": of(*FIRST, "targets", 0, "legend", put="{{function}}"),
    "another kind of data source": of(*FIRST, "datasource", "type", put="promotheus"),
    "a place that is no number": of(*FIRST, "gridPos", "x", put="left"),
    "no place": of(*FIRST, "gridPos", "w", put="wide"),
    "a variable of an unknown kind": of("templating", "list", 0, "type", put="source"),
    "a link of an unknown kind": of("links", 0, "type", put="dashboard"),
    "a schema that is no number": of("schemaVersion", put="39"),
    "panels that are no list": of("panels", put={}),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_grafana_would_not_understand_is_found(how: str) -> None:
    board = copy.deepcopy(BOARDS["traffic"])
    BROKEN[how](board)
    assert problems(board)


@pytest.mark.parametrize("name", BOARDS)
def test_each_panel_asks_the_data_source_that_was_chosen(name: str) -> None:
    board = BOARDS[name]
    (chosen,) = board["templating"]["list"]
    assert (chosen["type"], chosen["query"]) == ("datasource", "prometheus")
    for panel in board["panels"]:
        asked = {"type": "prometheus", "uid": f"${{{chosen['name']}}}"}
        assert panel["datasource"] == asked, panel["title"]
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_lies_over_another(name: str) -> None:
    for one, other in combinations((panel["gridPos"] for panel in BOARDS[name]["panels"]), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


def test_what_compose_gives_grafana_is_found_by_the_dashboards() -> None:
    """They are provisioned as they are: nobody chooses a data source there but the only one."""
    place = SOURCE_ROOT / "deploy/compose/grafana"
    (source,) = yaml.safe_load((place / "datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
