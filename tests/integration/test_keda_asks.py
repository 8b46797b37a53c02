"""What KEDA asks the database, as the manifest has it, asked of a real one."""

import json

import psycopg
import yaml

from rdev.config import SOURCE_ROOT

RUNNER = SOURCE_ROOT / "deploy/knative/overlays/keda/runner.yaml"


def query() -> str:
    for document in yaml.safe_load_all(RUNNER.read_text()):
        if document["kind"] == "ScaledObject":
            (asked,) = (
                each["metadata"]["query"]
                for each in document["spec"]["triggers"]
                if each["type"] == "postgresql"
            )
            return str(asked)
    raise AssertionError("no ScaledObject")


def test_who_may_read_how_commands_stand_and_nothing_else_is_told_what_waits_and_runs(
    database_url: str,
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO commands (id, project_id, kind, status, priority, key_id, spec,"
            " timeout_s, finished_at)"
            " SELECT 'cmd-' || n, 'p', 'shell', s, 'normal', 'key-1', '{}', 60, now()"
            " FROM unnest(array['queued', 'queued', 'running', 'succeeded', 'lost'])"
            " WITH ORDINALITY AS each (s, n);"
            "CREATE ROLE only_keda; GRANT SELECT (status) ON commands TO only_keda;"
            "SET ROLE only_keda"
        )
        try:
            assert connection.execute(query()).fetchone() == (3,)  # type: ignore[arg-type]
        finally:
            connection.rollback()


def test_it_is_an_indexs_answer_every_five_seconds(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SET enable_seqscan = off")
        row = connection.execute(f"EXPLAIN (FORMAT JSON) {query()}").fetchone()  # type: ignore[arg-type]
        assert row is not None
        plan = json.dumps(row[0])
    assert "Seq Scan" not in plan
    assert plan.count('"Index Name"') == 2
