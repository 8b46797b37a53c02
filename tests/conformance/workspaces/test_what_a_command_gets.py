"""What a command gets from its workspace: its words, its input, its environment, its folder."""

import pytest

from rdev.errors import CommandRefused
from rdev.ports import Liveness


def test_argv_arrives_as_it_was_given(place):
    words = ("a b", "", "$HOME", "'", '"', "`id`", "\\", "line\nbreak", "é", "*", "-n", "~")
    _, out, _ = place.run(place.launch("printf", "<%s>", *words))
    assert out.decode() == "".join(f"<{word}>" for word in words)


def test_stdin_is_what_was_given(place):
    data = bytes(range(256)) * 1000
    assert place.run(place.launch("cat", stdin=data)) == (0, data, b"")


def test_stdin_is_empty_where_none_was_given(place):
    assert place.run(place.launch("cat")) == (0, b"", b"")


def test_the_environment_is_its_own_and_nothing_of_rdevs(place, monkeypatch):
    monkeypatch.setenv("RDEV_PEPPER", "secret")
    given = {"GREETING": "it's $HOME\n`x`", "EMPTY": "", "IFS": ":", "dir": "/", "token": "t"}
    _, out, _ = place.run(place.launch("env", "-0", env=given))
    seen = dict(item.split("=", 1) for item in out.decode().rstrip("\0").split("\0"))
    home = place.do("pwd -P").strip()
    assert {**seen, **given, "HOME": home, "LANG": "C.UTF-8"} == seen
    assert seen["PATH"].startswith(f"{home}/.local/bin:/")
    assert [name for name in seen if name.startswith("RDEV")] == ["RDEV_COMMAND_ID"]
    assert seen["RDEV_COMMAND_ID"] == place.id()


@pytest.mark.parametrize("name", ["UID", "SHELLOPTS", "OPTIND", "RDEV_COMMAND_ID", "1A", "A-B", ""])
def test_a_variable_that_no_shell_can_set_is_refused(place, name):
    with pytest.raises(CommandRefused) as refused:
        place.workspace.start(place.launch("true", env={name: "x"}))
    assert refused.value.reason == "env_not_allowed"
    assert place.workspace.liveness(place.id()) is Liveness.UNKNOWN


@pytest.mark.parametrize("name", ["PS4", "ENV", "LC_ALL", "CDPATH", "TMOUT", "POSIXLY_CORRECT"])
def test_a_variable_that_means_something_to_shells_arrives(place, name):
    _, out, _ = place.run(place.launch("env", "-0", env={name: "a b"}))
    assert f"{name}=a b" in out.decode().split("\0")


def test_nul_is_refused(place):
    for launch in (
        place.launch("a\0b"),
        place.launch("true", env={"A": "\0"}),
        place.launch("true", cwd="\0"),
    ):
        with pytest.raises(CommandRefused):
            place.workspace.start(launch)


@pytest.mark.parametrize("limit", ["memory_mb", "processes"])
def test_a_limit_that_cannot_be_enforced_is_refused(place, limit):
    if limit in place.target.workspaces.enforceable():
        code, _, _ = place.run(place.launch("true", **{limit: 100}))
        assert code == 0
        return
    with pytest.raises(CommandRefused) as refused:
        place.workspace.start(place.launch("true", **{limit: 100}))
    assert refused.value.reason == "limits_not_enforceable"
    assert place.workspace.liveness(place.id()) is Liveness.UNKNOWN


def test_signals_have_their_defaults(place):
    _, out, _ = place.run(place.launch("grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"))
    standard = 2**31 - 1  # signals 1 to 31: 32 and 33 are the C library's own
    assert {int(line.split()[1], 16) & standard for line in out.decode().splitlines()} == {0}


def test_no_descriptor_but_the_three_is_inherited(place):
    _, out, _ = place.run(place.sh("ls /proc/$$/fd; :"))
    assert set(out.decode().split()) - {"10", "255"} == {"0", "1", "2"}


def test_values_are_in_no_argument_of_any_process(place):
    secret = f"s3cr3t-{place.name}"
    line = f"echo; until [ -e {place.file('go')} ]; do sleep 0.05; done"
    place.workspace.start(place.sh(line, env={"S": secret}))
    place.said()
    # Put together there, for this line is an argument too; and by no other program than the shell.
    seen = place.do(
        "x=s3cr; case $(cat /proc/[0-9]*/cmdline | tr '\\0' ' ') in "
        f'*"${{x}}3t-{place.name}"*) echo seen ;; *until*) echo none ;; esac'
    )
    assert seen == "none\n"
    place.do(f": >{place.file('go')}")
    place.finish()


@pytest.mark.parametrize("name", ["a dir", "-n", "it's", '"$HOME"', "é\n", "*", "`id`"])
def test_a_folder_may_have_any_name(place, name):
    folder = f"{name} {place.name}"
    code, _, err = place.run(place.launch("mkdir", "--", folder, which="-mkdir"))
    assert code == 0, err
    home = place.do("pwd -P").strip()
    seen = place.run(place.sh("pwd -P", cwd=folder))
    assert seen == (0, f"{home}/{folder}\n".encode(), b"")


def test_cwd_lies_below_the_workspace(place):
    folder, link = place.file("dir"), place.file("link")
    place.do(f"mkdir {folder}; ln -s {folder} {link}")
    home = place.do("pwd -P").strip()
    for number, cwd in enumerate((folder, link, f"./{folder}/../{folder}", f"{home}/{folder}")):
        launch = place.sh("pwd -P", cwd=cwd, which=f"-{number}")
        assert place.run(launch)[1].decode().strip() == f"{home}/{folder}"


@pytest.mark.parametrize(
    ("cwd", "reason"),
    [
        ("..", "cwd_outside_workspace"),
        ("../..", "cwd_outside_workspace"),
        ("/proc", "cwd_outside_workspace"),
        ("out", "cwd_outside_workspace"),
        ("beside", "cwd_outside_workspace"),
        ("missing", "cwd_not_found"),
        ("file", "cwd_not_found"),
        ("-", "cwd_not_found"),
    ],
)
def test_a_cwd_that_cannot_be_is_refused_and_nothing_runs(place, cwd, reason):
    home = place.do("pwd -P").strip()
    out, file, beside = place.file("out"), place.file("file"), f"{home}-{place.name}"
    place.do(f"ln -s /tmp {out}; : >{file}; mkdir {beside}")
    try:
        asked = {"out": out, "file": file, "beside": beside}.get(cwd, cwd)
        witness = f"{home}/{place.file('ran')}"
        assert place.run(place.sh(f": >{witness}", cwd=asked)) == (None, b"", b"")
        refusal = place.workspace.refusal(place.id())
        assert refusal is not None
        assert refusal[0] == reason
        assert place.do(f"[ ! -e {witness} ] && echo none") == "none\n"
        assert not place.workspace.forestall(place.id())
    finally:
        place.do(f"rmdir {beside}")


def test_a_program_that_is_not_there_is_refused_by_name(place):
    assert place.run(place.launch("no-such-claude")) == (None, b"", b"")
    assert place.workspace.refusal(place.id()) == (
        "program_not_found",
        "no-such-claude: not found in this workspace; install it there or set PATH",
    )


def test_a_program_is_found_on_the_commands_own_path(place):
    folder = place.file("bin")
    place.do(
        f"mkdir {folder}; printf '#!/bin/sh\\necho mine\\n' >{folder}/tool; chmod 755 {folder}/tool"
    )
    home = place.do("pwd -P").strip()
    env = {"PATH": f"{home}/{folder}:/usr/bin:/bin"}
    assert place.run(place.launch("tool", env=env))[1] == b"mine\n"


def test_a_program_in_the_workspaces_local_bin_is_found(place):
    tool = place.file("tool")
    place.do(
        f"mkdir -p .local/bin; printf '#!/bin/sh\\necho mine\\n' >.local/bin/{tool}; "
        f"chmod 755 .local/bin/{tool}"
    )
    assert place.run(place.launch(tool))[1] == b"mine\n"
