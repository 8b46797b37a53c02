"""Making and deleting workspaces, and what happens when the disk does not play along."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from command_ids import ONE
from integration.workspaces.place import gone
from rdev.adapters.workspaces import local
from rdev.errors import InvalidRequest, WorkspaceUnavailable
from rdev.ports import Liveness


def test_making_it_twice_keeps_what_is_there(one_place):
    (one_place.root / "file").write_text("x")
    one_place.workspaces.create("demo", git_url=None)
    assert (one_place.root / "file").read_text() == "x"


@pytest.mark.parametrize("name", ["../etc", "", "a/b", "A", "-a", "a\n", "."])
def test_a_name_that_is_no_dns_label_is_refused(one_place, name):
    for ask in (
        lambda: one_place.workspaces.create(name, git_url=None),
        lambda: one_place.workspaces.delete(name, lambda: None),
        lambda: one_place.workspaces.of(name),
    ):
        with pytest.raises(InvalidRequest):
            ask()


def test_delete_kills_what_runs_and_follows_no_symlink(one_place, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    (one_place.root / "link").symlink_to(tmp_path / "other")
    one_place.workspace.start(one_place.sh("setsid sleep 100 & echo $!; exec sleep 100"))
    pid = int(one_place.said())
    one_place.workspaces.delete("demo", lambda: None)
    one_place.workspaces.delete("demo", lambda: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["commands", "other", "workspaces"]
    assert not list((tmp_path / "commands").iterdir())
    assert not list((tmp_path / "workspaces").iterdir())
    assert (tmp_path / "other/file").exists()
    assert gone(pid)


def test_what_a_killed_process_left_of_deleting_or_cloning_is_pruned(one_place, monkeypatch):
    """Nobody asks for it again: its record is gone."""
    left = [one_place.root.with_name(name) for name in (".old.gone.1", ".new.cloned.1")]
    left.append(one_place.commands.with_name(".old.gone.2"))
    for folder in left:
        (folder / ONE).mkdir(parents=True)
    one_place.workspaces.prune()
    assert all(folder.exists() for folder in left), "somebody may be at it"
    monkeypatch.setattr(local, "_HALF_DONE_AGE_S", -1.0)
    with subprocess.Popen(["sleep", "60"]) as feeder:
        start = Path(f"/proc/{feeder.pid}/stat").read_text().rpartition(")")[2].split()[19]
        (left[-1] / f"{ONE}/feeder").write_text(f"{feeder.pid}:{start}\n")
        one_place.workspaces.prune()
        assert feeder.wait(60) == -signal.SIGKILL
    assert not any(folder.exists() for folder in left)
    assert one_place.root.exists()


def test_a_stray_file_is_deleted_with_the_rest(one_place, tmp_path):
    (one_place.commands / ".stray").touch()
    one_place.workspaces.delete("demo", lambda: None)
    assert not list((tmp_path / "commands").iterdir())


def test_nothing_starts_in_a_deleted_workspace(one_place):
    one_place.workspaces.delete("demo", lambda: None)
    with pytest.raises(WorkspaceUnavailable):
        one_place.workspace.start(one_place.launch("true"))


def test_a_place_that_takes_no_files_is_unavailable(one_place, tmp_path):
    one_place.commands.rename(tmp_path / "aside")
    one_place.commands.touch()
    try:
        for ask in (
            lambda: one_place.workspace.start(one_place.launch("true")),
            lambda: one_place.workspace.forestall(ONE),
            lambda: one_place.workspace.liveness(ONE),
            lambda: one_place.workspace.read(ONE, "stdout", 0, 1),
        ):
            with pytest.raises(WorkspaceUnavailable):
                ask()
    finally:
        one_place.commands.unlink()
        (tmp_path / "aside").rename(one_place.commands)
    assert one_place.workspace.liveness(ONE) is Liveness.UNKNOWN


def test_a_workspace_is_cloned(one_place, tmp_path):
    source = tmp_path / "source"
    git = ["git", "-C", str(source), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    (source / "file").write_text("content")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    try:
        one_place.workspaces.create("clone", git_url=f"file://{source}")
        assert (one_place.root.parent / "clone/file").read_text() == "content"
        one_place.workspaces.create("clone", git_url=f"file://{source}")
    finally:
        one_place.workspaces.delete("clone", lambda: None)


@pytest.mark.parametrize(
    "url", ["ext::sh -c touch% /tmp/rdev-owned", "--upload-pack=x", "file:///no/such/folder", ""]
)
def test_a_url_that_git_must_not_or_cannot_clone_is_refused(one_place, url):
    with pytest.raises(InvalidRequest):
        one_place.workspaces.create("clone", git_url=url)
    assert [path.name for path in one_place.root.parent.iterdir()] == ["demo"]


def test_waiting_without_inotify_sees_changes_and_keeps_to_its_limit(one_place, tmp_path):
    from rdev.adapters.workspaces.dispatcher import Dispatcher
    from rdev.adapters.workspaces.watch import Watches

    dispatcher = Dispatcher("test")
    watches = Watches(dispatcher, use_inotify=False)
    folder = tmp_path / "watched"
    folder.mkdir()
    watches.wait(folder, 0.05)
    (folder / "file").touch()
    begun = time.monotonic()
    watches.wait(folder, 30)
    assert time.monotonic() - begun < 20
    watches.wait(folder, 0.05)
    watches.close()
    dispatcher.close()
