"""Keys that make keys, and projects from their making to their end."""

import subprocess
from typing import Any

import pytest

from http_client import Answer, Http
from live_stack import Stack, processes_of, wait_for
from target import Target


def make(by: Http, **fields: Any) -> Answer:
    return by.post("/keys", {"name": "made", "scopes": ["projects:read"], **fields})


def test_a_secret_is_shown_once_and_a_record_never_has_it(stack: Stack) -> None:
    made = make(stack.admin)
    assert made.status == 201
    assert made.headers["Location"] == f"/keys/{made.data['id']}"
    secret = made.data["key"]
    assert Http(stack.port, secret).get("/projects").status == 200
    for answer in (stack.admin.get("/keys"), stack.admin.get(made.headers["Location"])):
        assert answer.status == 200
        assert secret.encode() not in answer.body
    logs = b"".join(path.read_bytes() for path in (stack.home / "log").iterdir())
    assert secret.encode() not in logs


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ({"scopes": ["keys:admin"]}, {"scopes": ["admin"]}),
        ({"scopes": ["keys:admin"]}, {"scopes": ["keys:admin", "projects:read"]}),
        ({"scopes": ["keys:admin"], "projects": ["demo"]}, {"scopes": ["keys:admin"]}),
        (
            {"scopes": ["keys:admin"], "projects": ["a-*"]},
            {"scopes": ["keys:admin"], "projects": ["b"]},
        ),
    ],
)
def test_a_key_cannot_make_one_that_may_more(target: Target, held: Any, wanted: Any) -> None:
    by = target.key(*held.pop("scopes"), **held)
    before = len(target.admin.get("/keys?limit=1000").data)
    refused = make(by, **wanted)
    assert (refused.status, refused.error["code"]) == (403, "FORBIDDEN")
    assert len(target.admin.get("/keys?limit=1000").data) == before


def test_a_key_makes_one_that_may_less_or_as_much(target: Target) -> None:
    by = target.key("keys:admin", "projects:read", projects=["demo", "other"])
    assert make(by, projects=["demo"]).status == 201
    assert make(by, scopes=["keys:admin"], projects=["demo", "other"]).status == 201


def test_revoking_twice_is_no_error_and_the_record_stays(target: Target) -> None:
    client = target.key()
    first, second = (target.admin.delete(f"/keys/{client.key_id}") for _ in range(2))
    assert (first.status, second.status) == (200, 200)
    assert first.data["revoked_at"] == second.data["revoked_at"] is not None


def test_pages_of_keys_are_the_whole_list(target: Target) -> None:
    for _ in range(3):
        target.key("projects:read")
    whole = [key["id"] for key in target.admin.get("/keys?limit=1000").data]
    paged, cursor = [], ""
    while cursor is not None:
        page = target.admin.get(f"/keys?limit=2{cursor and f'&cursor={cursor}'}")
        paged += [key["id"] for key in page.data]
        cursor = page.json["meta"]["next_cursor"]
    assert paged == whole


def test_a_project_is_made_once_and_goes_with_its_files(
    stack: Stack, api: Http, project: str
) -> None:
    again = api.post("/projects", {"id": project})
    assert (again.status, again.error["code"]) == (409, "CONFLICT")
    record = api.finished(project, "echo kept >file; echo told")
    assert (stack.workspace(project) / "file").read_text() == "kept\n"
    assert api.delete(f"/projects/{project}").status == 200
    assert not stack.workspace(project).exists()
    wait_for(lambda: not (stack.home / "commands" / project).exists())
    for path in ("", "/commands", f"/commands/{record['id']}", "/events"):
        assert api.get(f"/projects/{project}{path}").status in (200, 404)
    assert api.post(f"/projects/{project}/shell", {"command": "true"}).status == 404
    assert api.post("/projects", {"id": project}).status == 201
    assert list(stack.workspace(project).iterdir()) == []


def test_a_project_is_not_deleted_under_a_running_command(api: Http, project: str) -> None:
    command = api.shell(project, "sleep 1000")["id"]
    refused = api.delete(f"/projects/{project}")
    assert (refused.status, refused.error["code"]) == (409, "CONFLICT")
    assert command in refused.error["message"]
    api.post(f"/projects/{project}/commands/{command}/cancel")
    with api.events(project, command) as stream:
        stream.read_to_end()
    assert processes_of(command) == []
    assert api.delete(f"/projects/{project}").status == 200


def test_a_projects_variables_reach_its_commands_and_are_not_shown(api: Http) -> None:
    made = api.post("/projects", {"id": "with-env", "env": {"TOKEN": "s3cret", "MODE": "a"}})
    try:
        assert (made.status, made.data["env"]) == (201, ["MODE", "TOKEN"])
        assert b"s3cret" not in api.get("/projects/with-env").body
        record = api.finished("with-env", 'echo "$TOKEN $MODE"', env={"MODE": "b"})
        assert api.output("with-env", record["id"]) == b"s3cret b\n"
    finally:
        api.delete("/projects/with-env")


def test_an_address_that_cannot_be_cloned_leaves_no_project(stack: Stack, api: Http) -> None:
    answer = api.post("/projects", {"id": "cloned", "git_url": "http://127.0.0.1:9/none.git"})
    assert 400 <= answer.status < 500 or answer.status == 503, answer.body
    assert api.get("/projects/cloned").status == 404
    assert not stack.workspace("cloned").exists()


def test_git_runs_with_its_arguments_as_given(stack: Stack, api: Http, project: str) -> None:
    author = {
        f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    for args in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "$(id); 'x'"]):
        assert api.finished(project, "", kind="git", args=args, env=author)["status"] == "succeeded"
    log = ["git", "-C", str(stack.workspace(project)), "log", "-1", "--format=%s"]
    shown = subprocess.run(log, capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"})
    assert shown.stdout == b"$(id); 'x'\n"
