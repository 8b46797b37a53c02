"""What git is run with, and what never: by many spellings, and by a real git that tries."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdev.domain.argv import argv_of
from rdev.domain.commands import Kind
from rdev.domain.git_arguments import SUBCOMMANDS, env_problem, problem

REFUSED = [
    "-c core.pager=evil log",
    "-ccore.pager=evil log",
    "--config-env=core.pager=X log",
    "--config-env core.pager=X log",
    "--exec-path=. status",
    "--exec-pa=. status",
    "-C ../.. status",
    "-C.. status",
    "--git-dir=evil.git status",
    "--git-dir evil.git status",
    "--work-tree=.. status",
    "--no-pager -c alias.x=!evil x",
    "--paginate log",
    "-p log",
    "x",
    "evil",
    "clone --upload-pack=evil . y",
    "clone --upload-pack evil . y",
    "clone --upload-pa=evil . y",
    "clone --upl evil . y",
    "clone -u evil . y",
    "clone -uevil . y",
    "clone -qu evil . y",
    "clone -c core.fsmonitor=evil . y",
    "clone --config core.fsmonitor=evil . y",
    "clone --conf=core.fsmonitor=evil . y",
    "clone --template=planted . y",
    "clone --temp planted . y",
    "clone --separate-git-dir=y . z",
    "clone ext::evil y",
    "clone fd::7 y",
    "clone https://example.com/x.git .git/hooks",
    "clone https://example.com/x.git ../y",
    "clone https://example.com/x.git /tmp/y",
    "clone -- ext::evil y",
    "clone . y --upload-pack=evil",
    "fetch --upload-pack=evil .",
    "fetch ext::evil",
    "pull --upload-pack evil .",
    "pull -s evil",
    "pull ext::evil",
    "ls-remote --upload-pack=evil .",
    "ls-remote --exec=evil .",
    "push --receive-pack=evil .",
    "push --exec=evil .",
    "push --repo=ext::evil",
    "remote add x ext::evil",
    "remote set-url origin ext::evil",
    "archive --remote=ext::evil HEAD",
    "archive --remote=. --exec=evil HEAD",
    "archive -o .git/hooks/x HEAD",
    "archive --output=.git/hooks/x HEAD",
    "submodule add ext::evil y",
    "submodule foreach evil",
    "submodule --quiet foreach evil",
    "submodule add https://example.com/x .git/y",
    "rebase --exec evil HEAD",
    "rebase -x evil HEAD",
    "rebase -ix evil HEAD",
    "rebase -s evil HEAD",
    "rebase --strategy=evil HEAD",
    "merge -s evil x",
    "merge --strateg evil x",
    "bisect run evil",
    "bisect view",
    "grep -Oevil x",
    "grep -O x",
    "grep -iO x",
    "grep --open-files-in-pager=evil x",
    "grep --open=evil x",
    "log --output=.git/config",
    "show -s --format=x --outp=.git/config",
    "diff --output .git/config",
    "format-patch -o .git/hooks HEAD~1",
    "init --template=planted",
    "init ../y",
    "worktree add .git/hooks",
    "worktree add /tmp/y",
    "apply --unsafe-paths x",
    "config core.fsmonitor evil",
    "config --add core.pager evil",
    "config --replace-all alias.x !evil",
    "config set core.sshCommand evil",
    "config --file .git/x core.pager evil",
    "config -f x core.pager evil",
    "config -e",
    "config --edit",
    "config include.path evil",
    "config CORE.FSMONITOR evil",
    "config --unset core.hooksPath",
    "config core.hooksPath list",
    "config core.fsmonitor get",
    "config --local core.sshCommand list",
    "mv planted/hooks/pre-commit .git/hooks/pre-commit",
    "mv -f file ./.git/config",
    "mv file planted/../.git/hooks",
    "read-tree --index-output=../../y HEAD",
    "apply --build-fake-ancestor=../../y patch",
    "apply --build-f ../../y patch",
    "format-patch -1 --suffix=/../../y",
    "gc --expire-to=../../y",
    "status --help",
    "",
]
OTHER_SUBCOMMANDS = (
    "filter-branch difftool mergetool send-email instaweb daemon hook interpret-trailers "
    "upload-pack receive-pack shell cvsserver p4 svn gui web--browse help fast-import "
    "checkout-index update-index maintenance remote-ext credential-store lfs for-each-repo"
)
TAKEN = [
    "--version",
    "status --porcelain",
    "--no-pager log --oneline --not main",
    "log --cc -p --pretty=%h --stat",
    "commit -am message",
    "commit -m ext::evil",
    "commit --amend --no-edit --author=x",
    "clone --depth=1 --branch main https://example.com/a/.git/x.git sub/folder",
    "clone git@example.com:x/y.git",
    "fetch --all --prune --tags",
    "fetch -u",
    "pull --rebase -X theirs",
    "push -u origin HEAD:main --force-with-lease",
    "rebase --onto main topic --strategy-option=ours",
    "rebase --continue",
    "merge --no-ff -m x topic",
    "diff --output-indicator-new=> HEAD~1 -- a/../b",
    "grep -n -e x --or -e y",
    "archive --format=tar --prefix=x/ HEAD",
    "submodule update --init --recursive",
    "bisect start HEAD HEAD~3",
    "config user.email x@example.com",
    "config --get core.pager",
    "config core.pager",
    "config --list --show-origin",
    "config get core.hooksPath",
    "config list",
    "mv file ../other/.github",
    "add --update",
    "worktree add ../../x/y".replace("../../", ""),
]


@pytest.mark.parametrize("line", REFUSED)
def test_what_could_run_a_program_is_refused_with_the_reason(line: str) -> None:
    wrong = problem(line.split())
    assert wrong
    assert not line or any(word in wrong for word in line.split()), wrong


@pytest.mark.parametrize("name", OTHER_SUBCOMMANDS.split())
def test_other_subcommands_are_refused(name: str) -> None:
    assert name in (problem([name, "x"]) or "")


@pytest.mark.parametrize("line", TAKEN)
def test_what_is_gits_own_work_is_taken(line: str) -> None:
    assert problem(line.split()) is None


@pytest.mark.parametrize(
    "name", ["GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH", "LD_PRELOAD", "PATH", "PAGER"]
)
def test_variables_that_name_programs_are_not_for_git(name: str) -> None:
    assert name in (env_problem(["TOKEN", name]) or "")


def test_variables_that_are_data_are_for_git() -> None:
    assert env_problem(["GIT_AUTHOR_NAME", "GIT_COMMITTER_DATE", "TOKEN", "TZ"]) is None


# --- a real git ----------------------------------------------------------------------------------


class Place:
    """A repository, and programs that leave a mark when anything runs them."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "repository"
        self.marker = folder / "it-ran"
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self.evil = self.bin / "evil"
        for name in ("evil", "git-evil", "git-merge-evil", "git-remote-evil"):
            (self.bin / name).write_text(f"#!/bin/sh\necho ran >>'{self.marker}'\n")
            (self.bin / name).chmod(0o755)
        hooks = folder / "repository" / "planted" / "hooks"
        hooks.mkdir(parents=True)
        for name in ("pre-commit", "post-checkout", "reference-transaction", "post-index-change"):
            (hooks / name).symlink_to(self.evil)
        self.run("init", "-q", "-b", "main")
        # A tree that looks like a repository, as one that was cloned may contain.
        bare = self.repository / "bare"
        self.run("init", "-q", "--bare", "bare")
        (bare / "config").write_text(f"[core]\n\tbare = true\n\tfsmonitor = {self.evil}\n")
        for name in ("pre-receive", "update", "post-update"):
            (bare / "hooks").mkdir(exist_ok=True)
            (bare / "hooks" / name).unlink(missing_ok=True)
            (bare / "hooks" / name).symlink_to(self.evil)
        (self.repository / "list").mkdir()
        (self.repository / "list" / "pre-commit").symlink_to(self.evil)
        shutil.copy(self.evil, self.repository / "executable")
        self.run("add", "executable")
        for number in range(3):
            (self.repository / "file").write_text(f"{number}\n")
            self.run("add", "file")
            self.run("commit", "-qm", f"number {number}")
        self.run("checkout", "-qb", "topic", "HEAD~1")
        self.run("commit", "-qm", "other", "--allow-empty")
        self.run("checkout", "-q", "main")

    def run(self, *argv: str, cwd: str = ".") -> None:
        env = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.repository),
            "GIT_AUTHOR_NAME": "x",
            "GIT_AUTHOR_EMAIL": "x@example.com",
            "GIT_COMMITTER_NAME": "x",
            "GIT_COMMITTER_EMAIL": "x@example.com",
            "GIT_EDITOR": "true",
        }
        subprocess.run(
            ["git", *argv],
            cwd=self.repository / cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    def tidy_up(self) -> None:
        (self.repository / ".git/hooks/pre-commit").unlink(missing_ok=True)
        for line in ("bisect reset", "rebase --abort", "reset -q --hard", "checkout -qf main"):
            self.run(*line.split())
        self.ran()

    def ran(self) -> bool:
        """Whether a mark was left since the last time."""
        there = self.marker.exists()
        self.marker.unlink(missing_ok=True)
        return there


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    place = Place(tmp_path_factory.mktemp("git"))
    assert not place.ran()
    return place


WORKING = [
    "-c core.fsmonitor=evil status",
    "-c alias.x=!evil x",
    "evil",
    "clone -q --upload-pack=evil . y1",
    "clone -q --upload-pa=evil . y2",
    "clone -qu evil . y3",
    "clone -q --template=planted . y4",
    "clone -q -c protocol.ext.allow=always -c x.y=z ext::evil y5",
    "fetch --upload-pack=evil .",
    "ls-remote --exec=evil .",
    "push --receive-pack=evil . HEAD:x",
    "push bare HEAD:x",
    "--git-dir=bare --work-tree=. status",
    "rebase -f -x evil HEAD~1",
    "merge -s evil topic",
    "bisect run evil",
    "grep -Oevil 2",
    "config alias.hurt !evil",
    "mv executable .git/hooks/pre-commit",
    "config core.hooksPath list",
]


@pytest.mark.slow
@pytest.mark.parametrize("line", WORKING)
def test_the_planted_programs_would_be_run_by_a_plain_git(template: Place, line: str) -> None:
    """Else the test below would prove nothing."""
    for before in ("bisect start HEAD HEAD~2",) if "bisect" in line else ():
        template.run(*before.split())
    template.run(*line.split())
    if "alias" in line:
        template.run("hurt")
        template.run("config", "--unset", "alias.hurt")
    if "hooks" in line:
        template.run("commit", "-qm", "x", "--allow-empty")
        template.run("config", "--unset", "core.hooksPath")
    ran = template.ran()
    template.tidy_up()
    assert ran


WORDS = sorted(
    {word for line in (*REFUSED, *TAKEN, *WORKING) for word in line.split()}
    | {
        "HEAD",
        "HEAD~1",
        ".",
        "bare",
        "topic",
        "file",
        "--",
        "-f",
        "y",
        "planted",
        "remote",
        "origin",
    }
)


@pytest.mark.slow
@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    calls=st.lists(
        st.one_of(
            st.tuples(st.sampled_from(sorted(SUBCOMMANDS)), st.lists(st.sampled_from(WORDS))),
            st.tuples(st.sampled_from(WORDS), st.lists(st.sampled_from(WORDS), max_size=4)),
            st.sampled_from([*REFUSED, *WORKING]).map(
                lambda s: (s.partition(" ")[0], s.split()[1:])
            ),
        ),
        min_size=1,
        max_size=6,
    ),
    cwd=st.sampled_from([".", ".", "bare"]),
)
def test_no_accepted_arguments_run_a_planted_program(
    template: Place, tmp_path: Path, calls: list[tuple[str, list[str]]], cwd: str
) -> None:
    """Several calls in a row: one must not set up what the next one runs."""
    for first, rest in calls:
        args = [first, *rest]
        offline = not any("example.com" in word or "://" in word for word in args)
        if problem(args) is None and offline:
            template.run(*argv_of(Kind.GIT, {"args": args})[1:], cwd=cwd)
            assert not template.ran(), args
    template.tidy_up()
