"""What a command gets from its workspace, and what is seen of it."""

import hashlib
import subprocess
import time

import pytest

from rdev.adapters.workspaces.launch_file import DEFAULT_PATH
from rdev.domain.commands import Exit
from rdev.errors import CommandRefused
from rdev.ports import Liveness


def test_output_goes_where_it_belongs_and_the_exit_code_is_true(place):
    assert place.run(place.sh("echo out; echo err >&2; exit 7")) == (7, b"out\n", b"err\n")


def test_success_is_zero(place):
    assert place.run(place.launch("true")) == (0, b"", b"")


def test_a_signal_is_128_and_its_number(place):
    assert place.run(place.sh("kill -TERM $$"))[0] == 128 + 15


def test_bytes_stay_as_they_are(place):
    line = r"printf '\000\377\376\n\r\001'; printf '\360\237' >&2"
    assert place.run(place.sh(line)) == (0, b"\0\xff\xfe\n\r\x01", b"\xf0\x9f")


def test_argv_arrives_as_it_was_given(place):
    words = ("a b", "", "$HOME", "'", '"', "`id`", "\\", "line\nbreak", "é", "*", "-n", "~")
    _, out, _ = place.run(place.launch("printf", "<%s>", *words))
    assert out.decode() == "".join(f"<{word}>" for word in words)


def test_stdin_is_what_was_given(place):
    data = bytes(range(256)) * 1000
    assert place.run(place.launch("cat", stdin=data)) == (0, data, b"")


def test_stdin_is_empty_where_none_was_given(place):
    assert place.run(place.launch("cat")) == (0, b"", b"")


def test_the_environment_is_built_from_nothing(place, monkeypatch):
    monkeypatch.setenv("RDEV_PEPPER", "secret")
    given = {"GREETING": "it's $HOME\n`x`", "EMPTY": "", "IFS": ":", "dir": "/", "token": "t"}
    _, out, _ = place.run(place.launch("env", "-0", env=given))
    seen = dict(item.split("=", 1) for item in out.decode().rstrip("\0").split("\0"))
    for shells_own in ("PWD", "SHLVL", "_"):
        seen.pop(shells_own, None)
    home = str(place.root)
    assert seen == {
        "PATH": f"{home}/.local/bin:{DEFAULT_PATH}",
        "HOME": home,
        "LANG": "C.UTF-8",
        "RDEV_COMMAND_ID": "cmd-1",
        **given,
    }


@pytest.mark.parametrize("name", ["UID", "SHELLOPTS", "OPTIND", "RDEV_COMMAND_ID", "1A", "A-B", ""])
def test_a_variable_that_no_shell_can_set_is_refused(one_place, name):
    with pytest.raises(CommandRefused) as refused:
        one_place.workspace.start(one_place.launch("true", env={name: "x"}))
    assert refused.value.reason == "env_not_allowed"
    assert one_place.workspace.liveness("cmd-1") is Liveness.UNKNOWN


@pytest.mark.parametrize("name", ["PS4", "ENV", "LC_ALL", "CDPATH", "TMOUT", "POSIXLY_CORRECT"])
def test_a_variable_that_means_something_to_shells_arrives(place, name):
    line = f'printf %s "$({{ printenv {name}; }})"'
    assert place.run(place.sh(line, env={name: "a b"})) == (0, b"a b", b"")


def test_nul_is_refused(one_place):
    for launch in (
        one_place.launch("a\0b"),
        one_place.launch("true", env={"A": "\0"}),
        one_place.launch("true", cwd="\0"),
    ):
        with pytest.raises(CommandRefused):
            one_place.workspace.start(launch)


def test_signals_have_their_defaults(place):
    _, out, _ = place.run(place.launch("grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"))
    standard = 2**31 - 1  # signals 1 to 31: 32 and 33 are the C library's own
    assert {int(line.split()[1], 16) & standard for line in out.decode().splitlines()} == {0}


def test_no_descriptor_but_the_three_is_inherited(place):
    _, out, _ = place.run(place.sh("ls /proc/$$/fd"))
    assert set(out.decode().split()) - {"10", "255"} == {"0", "1", "2"}


def test_cwd_lies_below_the_workspace(place):
    (place.root / "a dir").mkdir()
    (place.root / "link").symlink_to("a dir")
    for cwd in ("a dir", "link", "./a dir/../a dir", str(place.root / "a dir")):
        launch = place.launch("pwd", cwd=cwd, id=f"cmd-{len(cwd)}")
        assert place.run(launch)[1].decode().strip() == str(place.root / "a dir")


@pytest.mark.parametrize(
    ("cwd", "reason"),
    [
        ("..", "cwd_outside_workspace"),
        ("../..", "cwd_outside_workspace"),
        ("/etc", "cwd_outside_workspace"),
        ("out", "cwd_outside_workspace"),
        ("../demo-2", "cwd_outside_workspace"),
        ("missing", "cwd_not_found"),
        ("file", "cwd_not_found"),
        ("-", "cwd_not_found"),
    ],
)
def test_a_cwd_that_cannot_be_is_refused_and_nothing_runs(place, cwd, reason):
    (place.root / "out").symlink_to("/tmp")
    (place.root / "file").touch()
    (place.root.parent / "demo-2").mkdir()
    witness = place.root / "ran"
    assert place.run(place.launch("touch", str(witness), cwd=cwd)) == (None, b"", b"")
    refusal = place.workspace.refusal("cmd-1")
    assert refusal is not None
    assert refusal[0] == reason
    assert not witness.exists()
    assert not place.workspace.forestall("cmd-1")


def test_a_program_that_is_not_there_is_refused_by_name(place):
    assert place.run(place.launch("no-such-claude")) == (None, b"", b"")
    assert place.workspace.refusal("cmd-1") == (
        "program_not_found",
        "no-such-claude: not found in this workspace; install it there or set PATH",
    )


def test_a_program_is_found_on_the_commands_own_path(place):
    (place.root / "tool").write_text("#!/bin/sh\necho mine\n")
    (place.root / "tool").chmod(0o755)
    env = {"PATH": f"{place.root}:/usr/bin:/bin"}
    assert place.run(place.launch("tool", env=env))[1] == b"mine\n"


def test_a_program_in_the_workspaces_local_bin_is_found(place):
    tools = place.root / ".local/bin"
    tools.mkdir(parents=True)
    (tools / "tool").write_text("#!/bin/sh\necho mine\n")
    (tools / "tool").chmod(0o755)
    assert place.run(place.launch("tool"))[1] == b"mine\n"


def test_values_are_in_no_argument_of_the_supervisor(place):
    secret = "s3cr3t-value"
    place.workspace.start(
        place.sh("echo; read -r _ </proc/$PPID/stat; sleep 0.2", env={"S": secret})
    )
    place.said()
    seen = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout
    assert secret.encode() not in seen
    place.finish()


def test_large_output_is_whole_at_the_end(place):
    line = "head -c 50000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero >&2"
    code, out, err = place.run(place.sh(line))
    assert code == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(b"x" * 50_000_000).digest()
    assert err == bytes(1_000_000)


def test_output_is_read_while_it_is_written(place):
    go = place.root / "go"
    place.workspace.start(place.sh(f"echo one; until [ -e {go} ]; do sleep 0.05; done; echo two"))
    assert place.said() == "one"
    assert place.workspace.liveness("cmd-1") is Liveness.RUNNING
    assert place.workspace.exit("cmd-1") is None
    go.touch()
    place.finish()
    assert place.workspace.read("cmd-1", "stdout", 4, 100) == b"two\n"
    assert place.workspace.exit("cmd-1") == Exit(0)


def test_time_to_the_first_byte(place, shell, capsys):
    """Prints what docs/quality asks for; asserts nothing about it."""
    plain, ours = [], []
    for number in range(20):
        begun = time.perf_counter()
        with subprocess.Popen(["sh", "-c", "echo hi"], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.read(1)
            plain.append(time.perf_counter() - begun)
        name = f"cmd-{number}"
        begun = time.perf_counter()
        place.workspace.start(place.sh("echo hi", id=name))
        while not place.workspace.read(name, "stdout", 0, 10):
            place.workspace.wait(name, 1.0)
        ours.append(time.perf_counter() - begun)
        place.finish(name)
    reference, first = sorted(plain)[10] * 1000, sorted(ours)[10] * 1000
    with capsys.disabled():
        ratio = f"{first:.1f} ms against {reference:.1f} ms: {first / reference:.1f} x"
        print(f"\n{shell}: {ratio}")  # noqa: T201 - it is there to print
