"""What a command may ask for, through the running stack."""

import json
import time

from live_stack import Stack, processes_of, wait_for
from target import Target


def until(target: Target, command: str, *statuses: str) -> dict:
    def record() -> dict | None:
        found = target.admin.get(f"/projects/demo/commands/{command}").data
        return found if found["status"] in statuses else None

    return wait_for(record)


def test_the_same_idempotency_key_is_the_same_command(stack: Stack) -> None:
    sent = {"command": "echo once >> once"}
    first = stack.admin.post("/projects/demo/shell", sent, idempotency_key="k1").data["id"]
    again = stack.admin.post("/projects/demo/shell", sent, idempotency_key="k1").data["id"]
    other = stack.admin.post("/projects/demo/shell", {"command": "x"}, idempotency_key="k1")
    assert first == again
    assert (other.status, other.error["code"]) == (409, "CONFLICT")
    until(stack, first, "succeeded")
    assert (stack.workspace("demo") / "once").read_text() == "once\n"


def test_the_sixth_command_of_a_key_waits_for_a_place(target: Target) -> None:
    client = target.key("admin", max_concurrent=5)
    first = [client.shell("demo", "sleep 60")["id"] for _ in range(5)]
    for command in first:
        until(target, command, "running")
    sixth = client.shell("demo", "echo sixth")["id"]
    assert target.admin.finished("demo", "true")["status"] == "succeeded"  # another key's
    assert until(target, sixth, "queued", "running", "succeeded")["status"] == "queued"
    client.post(f"/projects/demo/commands/{first[0]}/cancel")
    until(target, sixth, "succeeded")
    for command in first[1:]:
        client.post(f"/projects/demo/commands/{command}/cancel")
        until(target, command, "cancelled")


def test_a_cancel_ends_the_whole_tree_also_one_that_ignores_term(target: Target) -> None:
    stubborn = "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo up; wait; wait"
    command = target.admin.shell("demo", stubborn)["id"]
    wait_for(lambda: target.admin.get(f"/projects/demo/commands/{command}/output").body == b"up\n")
    target.admin.post(f"/projects/demo/commands/{command}/cancel")
    record = until(target, command, "cancelled")
    assert record["signal"] == "KILL"
    assert processes_of(command) == []
    again = target.admin.post(f"/projects/demo/commands/{command}/cancel")
    assert (again.status, again.data["status"]) == (200, "cancelled")


def test_a_command_that_runs_too_long_is_timed_out(target: Target) -> None:
    record = target.admin.finished("demo", "echo before; sleep 60", timeout_s=0.5)
    assert (record["status"], record["reason"]) == ("timed_out", "timeout")
    assert record["output"]["stdout_bytes"] == 7


def test_a_command_that_waits_too_long_never_runs(stack: Stack) -> None:
    client = stack.key("admin", max_concurrent=1)
    blocking = client.shell("demo", "sleep 60")["id"]
    until(stack, blocking, "running")
    late = client.shell("demo", "touch too-late", queue_timeout_s=0.5)["id"]
    record = until(stack, late, "failed")
    assert (record["reason"], record["exit_code"], record["started_at"]) == (
        "queue_timeout",
        None,
        None,
    )
    assert not (stack.workspace("demo") / "too-late").exists()
    (row, *_) = json.loads(stack.admin.get(f"/audit?subject={late}").body)["data"]
    assert (row["action"], row["details"]["reason"]) == ("command.finished", "queue_timeout")
    client.post(f"/projects/demo/commands/{blocking}/cancel")
    until(stack, blocking, "cancelled")


def test_env_and_stdin_reach_the_command_and_no_record(target: Target) -> None:
    record = target.admin.finished(
        "demo", 'printf %s "$TOKEN"; cat', env={"TOKEN": "s3cret"}, stdin="from stdin"
    )
    output = target.admin.get(f"/projects/demo/commands/{record['id']}/output").body
    assert output == b"s3cretfrom stdin"
    assert "s3cret" not in str(record)
    assert "from stdin" not in str(record)


def test_git_gets_arguments_and_no_shell(stack: Stack) -> None:
    answer = stack.admin.post(
        "/projects/demo/git", {"args": ["rev-parse", "$(touch it-ran)"]}, prefer="wait=50"
    )
    assert answer.data["status"] == "failed"
    assert not (stack.workspace("demo") / "it-ran").exists()


def test_claude_that_is_not_installed_is_said_so(target: Target) -> None:
    answer = target.admin.post("/projects/demo/claude", {"prompt": "hi"}, prefer="wait=50")
    assert (answer.data["status"], answer.data["reason"]) == ("failed", "program_not_found")


def test_claudes_messages_become_events(stack: Stack) -> None:
    stack.admin.post("/projects", {"id": "agents"})
    programs = stack.workspace("agents") / ".local" / "bin"
    programs.mkdir(parents=True)
    claude = programs / "claude"
    claude.write_text(
        "#!/bin/sh\nread prompt\n"
        """printf '{"type": "system", "args": "%s"}\\n' "$*"\n"""
        """printf '{"type": "result", "prompt": "%s"}\\n' "$prompt"\n"""
    )
    claude.chmod(0o755)
    command = stack.admin.post("/projects/agents/claude", {"prompt": "say hi"}).data["id"]
    with stack.admin.events("agents", command) as stream:
        events = stream.read_to_end()
    messages = [e.data["message"] for e in events if e.type == "claude.message"]
    assert [message["type"] for message in messages] == ["system", "result"]
    assert messages[1]["prompt"] == "say hi"
    assert "say hi" not in messages[0]["args"]


def test_high_priority_goes_before_what_waits_longer(stack: Stack) -> None:
    client = stack.key("admin", max_concurrent=1)
    blocking = client.shell("demo", "sleep 60")["id"]
    until(stack, blocking, "running")
    ids = {
        priority: client.shell("demo", f"echo {priority} >> order", priority=priority)["id"]
        for priority in ("low", "normal", "high")
    }
    depth = {each["priority"]: each["waiting"] for each in client.get("/queue").data}
    assert all(depth[priority] >= 1 for priority in ids)
    client.post(f"/projects/demo/commands/{blocking}/cancel")
    for command in ids.values():
        until(stack, command, "succeeded")
    assert (stack.workspace("demo") / "order").read_text().split() == ["high", "normal", "low"]


def test_a_wait_that_is_too_short_answers_202(target: Target) -> None:
    began = time.monotonic()
    answer = target.admin.post("/projects/demo/shell", {"command": "sleep 30"}, prefer="wait=1")
    assert answer.status == 202
    assert time.monotonic() - began < 25
    target.admin.post(f"/projects/demo/commands/{answer.data['id']}/cancel")
    until(target, answer.data["id"], "cancelled")


def test_a_wait_that_is_long_enough_answers_200(target: Target) -> None:
    answer = target.admin.post("/projects/demo/shell", {"command": "exit 9"}, prefer="wait=50")
    assert (answer.status, answer.data["status"], answer.data["exit_code"]) == (200, "failed", 9)
    assert answer.headers["Preference-Applied"] == "wait=50"
    assert answer.headers["Location"] == answer.data["links"]["self"]


def test_a_queued_command_is_cancelled_at_once_and_never_runs(stack: Stack) -> None:
    client = stack.key("admin", max_concurrent=1)
    blocking = client.shell("demo", "sleep 60")["id"]
    until(stack, blocking, "running")
    waiting = client.shell("demo", "touch cancelled-but-ran")["id"]
    cancelled = client.post(f"/projects/demo/commands/{waiting}/cancel")
    assert (cancelled.status, cancelled.data["status"]) == (200, "cancelled")
    assert (cancelled.data["exit_code"], cancelled.data["started_at"]) == (None, None)
    with client.events("demo", waiting) as stream:
        types = [event.type for event in stream.read_to_end()]
    assert types == ["command.queued", "command.finished"]
    client.post(f"/projects/demo/commands/{blocking}/cancel")
    until(stack, blocking, "cancelled")
    assert not (stack.workspace("demo") / "cancelled-but-ran").exists()


def test_what_a_command_leaves_behind_does_not_outlive_it(target: Target) -> None:
    """Also what called setsid, ignores TERM and holds stdout open."""
    stray = "trap '' TERM HUP; while :; do sleep 1; done"
    record = target.admin.finished("demo", f'setsid sh -c "{stray}" & sleep 0.1; exit 4')
    assert (record["status"], record["exit_code"]) == ("failed", 4)
    assert processes_of(record["id"]) == []


def test_a_signal_is_told_as_a_shell_tells_it(target: Target) -> None:
    record = target.admin.finished("demo", "kill -9 $$")
    assert (record["status"], record["exit_code"]) == ("failed", 137)
    assert record["signal"] is None  # rdev sent none


def test_the_environment_is_built_from_nothing(target: Target) -> None:
    record = target.admin.finished("demo", "env")
    names = {line.split(b"=")[0] for line in target.admin.output("demo", record["id"]).splitlines()}
    assert names <= {b"PATH", b"HOME", b"LANG", b"RDEV_COMMAND_ID", b"PWD", b"SHLVL", b"_"}


def test_a_project_can_be_deleted_right_after_its_last_command(target: Target) -> None:
    for number in range(20):
        name = f"short-{number}"
        assert target.admin.post("/projects", {"id": name}).status == 201
        assert target.admin.finished(name, "true")["status"] == "succeeded"
        assert target.admin.delete(f"/projects/{name}").status == 200
