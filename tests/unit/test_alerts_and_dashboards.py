"""Alerts, objectives and dashboards ask for metrics that there are, by labels that these have."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

import promtool
from alert_cases import ALSO, CASES, OVER, QUIET, WELL
from rdev.config import SOURCE_ROOT
from rdev.ports import metrics
from rdev.ports.measuring import CATALOGUE, Counter, Histogram
from scraping import documented

PLACE = SOURCE_ROOT / "deploy/grafana"
RULES = yaml.safe_load((PLACE / "alerts.yaml").read_text())
DASHBOARDS = sorted(PLACE.glob("*.json"))
RUNBOOK = SOURCE_ROOT / "docs/operations/alerts.md"
OBJECTIVES = (SOURCE_ROOT / "docs/operations/slo.md").read_text()
SCRAPED = {"process", "instance", "job"}
STANDARD = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
}


def all_rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in all_rules() if "alert" in rule]


def in_dashboards() -> Iterator[tuple[str, str, str]]:
    """(dashboard: panel, expression, legend)."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                where = f"{path.stem}: {panel['title']}"
                yield (
                    where,
                    target["expr"].replace("$__rate_interval", "5m"),
                    target["legendFormat"],
                )


def expressions() -> dict[str, str]:
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in all_rules()}
    for number, text in enumerate(re.findall(r"```promql\n(.*?)```", OBJECTIVES, re.S)):
        found[f"objective {number}"] = text
    for number, (where, expression, _) in enumerate(in_dashboards()):
        found[f"{where} {number}"] = expression
    return found


EXPRESSIONS = expressions()


def series() -> dict[str, set[str]]:
    """The labels of every series that there is, by name."""
    found: dict[str, set[str]] = {name: set(SCRAPED) for name in STANDARD}
    for name, kind, labels in documented():
        if kind == "histogram":
            found[f"{name}_bucket"] = {*labels, *SCRAPED, "le"}
            found[f"{name}_count"] = found[f"{name}_sum"] = {*labels, *SCRAPED}
        else:
            found[name] = {*labels, *SCRAPED}
    return found | {rule["record"]: set() for rule in all_rules() if "record" in rule}


SERIES = series()
BOUNDS = {
    f"{each.name.replace('.', '_')}_seconds_bucket": {str(bound) for bound in each.bounds}
    for each in CATALOGUE.values()
    if isinstance(each, Histogram)
}


def nodes(expression: str) -> list[Any]:
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_an_expression_asks_for_what_there_is(where: str) -> None:
    parts = nodes(EXPRESSIONS[where])
    selectors = [each for each in parts if isinstance(each, promql_parser.VectorSelector)]
    assert selectors
    for selector in selectors:
        assert selector.name in SERIES, selector.name
        for matcher in selector.matchers.matchers:
            assert matcher.name in SERIES[selector.name], f"{selector.name} by {matcher.name}"
            if matcher.name == "le":
                _names_one_bound(matcher.value, BOUNDS[selector.name])
    labels = set().union(*(SERIES[selector.name] for selector in selectors))
    for part in parts:
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier:
            assert set(part.modifier.labels) <= labels


def _names_one_bound(value: str, bounds: set[str]) -> None:
    """As Prometheus from version 3 has it (5.0), and as Go's own client writes it (5)."""
    (bound,) = [bound for bound in bounds if re.fullmatch(value, bound)]
    assert re.fullmatch(value, bound.removesuffix(".0"))


@pytest.mark.parametrize(("where", "expression", "legend"), list(in_dashboards()))
def test_a_legend_names_labels_that_are_left(where: str, expression: str, legend: str) -> None:
    named = set(re.findall(r"\{\{(\w+)\}\}", legend))
    grouped = [
        set(part.modifier.labels)
        for part in nodes(expression)
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier
    ]
    for labels in grouped:
        assert named <= labels, where
    if not grouped:
        assert named <= SCRAPED, where


def test_dashboards_can_be_loaded_side_by_side() -> None:
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    wanted = {"traffic", "queue", "first-output", "streams", "webhooks", "workspaces", "stores"}
    assert {path.stem for path in DASHBOARDS} == wanted
    assert len({board["uid"] for board in boards}) == len(boards)
    for board in boards:
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        places = [panel["gridPos"] for panel in board["panels"]]
        assert all(place["x"] + place["w"] <= 24 for place in places)


def test_every_alert_says_what_to_do() -> None:
    headings = re.findall(r"^### (\w+)$", RUNBOOK.read_text(), re.M)
    names = [rule["alert"] for rule in alerts()]
    assert sorted(headings) == sorted(names)
    assert len(names) == len(set(names))
    for rule in alerts():
        at = f"{RUNBOOK.relative_to(SOURCE_ROOT)}#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook"] == at
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_objective_is_measured() -> None:
    listed = re.findall(r"^\| \[[^]]+\]\(#([\w-]+)\)", OBJECTIVES, re.M)
    chapters = re.split(r"^## ", OBJECTIVES, flags=re.M)[1:]
    named = [chapter.splitlines()[0].lower().replace(" ", "-") for chapter in chapters]
    assert listed == named
    assert all("```promql" in chapter for chapter in chapters)


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    assert set(CASES) == {rule["alert"] for rule in alerts()}


def test_what_alerts_on_an_increase_is_told_from_the_first_on() -> None:
    """A series that begins at 1 has not increased: what is to be seen must begin at 0."""
    counters = {
        f"{each.name.replace('.', '_')}_total": each
        for each in CATALOGUE.values()
        if isinstance(each, Counter) and each is not metrics.HTTP_REQUESTS  # it has no first one
    }
    looked_for = set()
    for rule in alerts():
        for each in nodes(rule["expr"]):
            if not isinstance(each, promql_parser.MatrixSelector):
                continue
            counter = counters.get(each.vector_selector.name)
            for matcher in each.vector_selector.matchers.matchers if counter else ():
                told = {counter.named(labels)[matcher.name] for labels, _ in counter.read()}
                assert set(matcher.value.split("|")) <= told, rule["alert"]
                looked_for.add((counter.name, matcher.value))
            assert counter is None or counter.read(), rule["alert"]
    assert ("rdev.stream.gaps", "lost|trimmed") in looked_for
    assert ("rdev.commands.finished", "infrastructure|workspace_not_ready") in looked_for


@pytest.mark.slow
@pytest.mark.skipif(not promtool.PATH, reason="promtool is not here; .ci/run brings it")
def test_each_alert_fires_in_its_case_and_in_no_other(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text((PLACE / "alerts.yaml").read_text())
    tests = [_case(name, QUIET | CASES[name], {name} | ALSO.get(name, set())) for name in CASES]
    tests.append(_case("quiet", QUIET, set()))
    tests += [_over(name, QUIET | told) for name, told in OVER.items()]
    tests += [_never(name, QUIET | told) for name, told in WELL.items()]
    cases = tmp_path / "cases.yaml"
    cases.write_text(yaml.safe_dump({"rule_files": [str(rules)], "tests": tests}))
    done = subprocess.run(
        [str(promtool.PATH), "test", "rules", str(cases)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _case(name: str, told: dict[str, str], firing: set[str]) -> dict[str, Any]:
    """By the number that fire, since what they say is not what is tested here."""
    expected = [
        {
            "expr": f'count(ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}}) > 0',
            "eval_time": "40m",
            "exp_samples": [{"labels": "{}", "value": 1}] if rule["alert"] in firing else [],
        }
        for rule in alerts()
    ]
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": key, "values": value} for key, value in told.items()],
        "promql_expr_test": expected,
    }


def _over(name: str, told: dict[str, str]) -> dict[str, Any]:
    fires = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > 0'
    return {
        "name": f"{name} is over",
        "interval": "1m",
        "input_series": [{"series": key, "values": value} for key, value in told.items()],
        "promql_expr_test": [
            {"expr": fires, "eval_time": "20m", "exp_samples": [{"labels": "{}", "value": 1}]},
            {"expr": fires, "eval_time": "90m", "exp_samples": []},
        ],
    }


def _never(name: str, told: dict[str, str]) -> dict[str, Any]:
    """In an hour and a half, not one alert fires at any time."""
    fired = 'count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[90m]))'
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": key, "values": value} for key, value in told.items()],
        "promql_expr_test": [{"expr": fired, "eval_time": "90m", "exp_samples": []}],
    }
