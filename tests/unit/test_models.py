"""What callers may send."""

import pytest
from pydantic import ValidationError

from rdev.domain.argv import argv_of, stdin_of
from rdev.domain.commands import Kind
from rdev.http.command_models import ClaudeCommand, GitCommand, ShellCommand
from rdev.http.key_models import CreateKey
from rdev.http.models import CreateProject


def fields(model: type, body: dict[str, object]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    return [".".join(str(part) for part in error["loc"]) for error in caught.value.errors()]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "command"),
        ({"command": ""}, "command"),
        ({"command": 5}, "command"),
        ({"command": "a\0b"}, "command"),
        ({"command": "x" * 100_001}, "command"),
        ({"command": "x", "unknown": 1}, "unknown"),
        ({"command": "x", "cwd": "../.."}, "cwd"),
        ({"command": "x", "cwd": "a/../../b"}, "cwd"),
        ({"command": "x", "cwd": "/etc"}, "cwd"),
        ({"command": "x", "cwd": "a\0"}, "cwd"),
        ({"command": "x", "env": {"A B": "1"}}, "env"),
        ({"command": "x", "env": {"1A": "1"}}, "env"),
        ({"command": "x", "env": {"PPID": "1"}}, "env"),
        ({"command": "x", "env": {"RDEV_COMMAND_ID": "1"}}, "env"),
        ({"command": "x", "env": {"A": "\0"}}, "env"),
        ({"command": "x", "timeout_s": 0}, "timeout_s"),
        ({"command": "x", "timeout_s": "5"}, "timeout_s"),
        ({"command": "x", "timeout_s": float("nan")}, "timeout_s"),
        ({"command": "x", "labels": {"": "v"}}, "labels..[key]"),
        ({"command": "x", "limits": {"output_mb": 0}}, "limits.output_mb"),
    ],
)
def test_a_shell_command_that_is_not_valid_names_its_field(
    body: dict[str, object], field: str
) -> None:
    assert field in fields(ShellCommand, body)


@pytest.mark.parametrize("given", ["a/b", ".", "a/../b", "a b", "ünï"])
def test_a_folder_inside_the_workspace_is_taken(given: str) -> None:
    assert not ShellCommand(command="x", cwd=given).cwd.startswith(("/", ".."))


@pytest.mark.parametrize(
    "name", ["", "../etc", "A", "a_b", "-a", "a-", "a" * 64, "a.b", "a/b", "a\n", "é"]
)
def test_a_project_is_named_by_a_dns_label(name: str) -> None:
    assert fields(CreateProject, {"id": name}) == ["id"]


@pytest.mark.parametrize("url", ["ext::sh -c id", "--upload-pack=x", "/etc", "file://host", "a b"])
def test_a_git_url_that_could_run_a_program_is_refused(url: str) -> None:
    assert fields(CreateProject, {"id": "a", "git_url": url}) == ["git_url"]


def test_scopes_are_known_ones_and_at_least_one() -> None:
    assert fields(CreateKey, {"name": "n", "scopes": []}) == ["scopes"]
    assert fields(CreateKey, {"name": "n", "scopes": ["root"]}) == ["scopes.0"]


def test_git_gets_its_arguments_as_they_are() -> None:
    wish = GitCommand(args=["log", "--oneline; rm -rf /"]).wish(Kind.GIT)
    argv = argv_of(Kind.GIT, wish.spec)
    assert (argv[0], *argv[-2:]) == ("git", "log", "--oneline; rm -rf /")


def test_claude_gets_its_prompt_by_stdin_and_its_options_as_arguments() -> None:
    asked = ClaudeCommand(prompt="-p hello", model="opus", max_turns=3, allowed_tools=["Read"])
    wish = asked.wish(Kind.CLAUDE)
    argv = argv_of(Kind.CLAUDE, wish.spec)
    assert argv[0] == "claude"
    assert "-p hello" not in argv
    assert argv[argv.index("--max-turns") :][:2] == ("--max-turns", "3")
    assert stdin_of(Kind.CLAUDE, wish.spec, b"") == b"-p hello"


@pytest.mark.parametrize("field", ["session_id", "model"])
def test_claudes_options_cannot_be_smuggled_in(field: str) -> None:
    assert field in fields(ClaudeCommand, {"prompt": "x", field: "--dangerously-skip-permissions"})


def test_env_and_stdin_stay_out_of_the_record() -> None:
    wish = ShellCommand(command="x", env={"TOKEN": "secret"}, stdin="secret").wish(Kind.SHELL)
    assert "secret" not in str(wish.spec)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_lies_in_no_year_is_refused(moment: str) -> None:
    body = {"name": "n", "scopes": ["admin"], "expires_at": moment}
    assert fields(CreateKey, body) == ["expires_at"]


@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066"])
def test_no_name_steers_a_terminal_or_turns_a_line_around(character: str) -> None:
    assert fields(CreateKey, {"name": f"a{character}b", "scopes": ["admin"]}) == ["name"]


def test_addresses_of_one_machines_own_are_refused() -> None:
    body = {"name": "n", "scopes": ["admin"], "allowed_ips": ["fe80::1%eth0"]}
    assert fields(CreateKey, body) == ["allowed_ips.0"]
