"""The five processes of `rdev up`, as data for the supervisor."""

import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rdev.platform import unprivileged
from rdev.platform.layout import Layout
from rdev.platform.listener import LISTEN_FD
from rdev.platform.processes import Recorded, end_all, processes_in, start_mark
from rdev.platform.stores import Postgres, Valkey
from rdev.platform.supervisor import Part


@dataclass(frozen=True)
class Stores:
    """Postgres and Valkey of one home."""

    postgres: Postgres
    valkey: Valkey

    @classmethod
    def of(cls, layout: Layout) -> "Stores":
        install = unprivileged.installation(layout.guest)
        data = layout.postgres / "data"
        postgres = Postgres(data, layout.postgres_sockets, install, layout.guest)
        return cls(postgres, Valkey(layout.valkey, layout.sockets / "valkey.sock"))

    def clear(self) -> None:
        """End a Postgres that is still in the data folder, and make the folder if there is none."""
        end_postgres(self.postgres.data_dir)
        if not self.postgres.exists:
            self.postgres.init()

    def parts(self) -> list[Part]:
        return [
            Part(
                "postgres",
                self.postgres.command(),
                store=True,
                gentle=signal.SIGINT,  # "fast shutdown": does not wait for clients
                firm=signal.SIGQUIT,
                account=self.postgres.account,
                cwd="/",
                before=lambda: forget_stale_pid(self.postgres),
            ),
            Part(
                "valkey",
                self.valkey.command(),
                store=True,
                cwd="/",
                before=self.valkey.drop_zeros,
            ),
        ]

    def remedies(self) -> dict[str, str]:
        """What to do about a store that does not start."""
        postgres, valkey = self.postgres.data_dir, self.valkey.data_dir
        return {
            "postgres": f"Bring its data back from a backup, or move {postgres} away "
            "to start with an empty database.",
            "valkey": f"Move {valkey} away and start again: the queue is rebuilt from Postgres.",
        }


def rdev_parts(host: str, port: int, listener_fd: int) -> list[Part]:
    """The three processes of rdev itself. Their command lines say what they are."""
    rdev = [sys.executable, "-m", "rdev.cli.main"]
    address = ["--host", host, "--port", str(port)]
    return [
        Part(
            "functions",
            [*rdev, "functions", *address],
            environment={"RDEV_PROCESS": "functions", LISTEN_FD: str(listener_fd)},
            pass_fds=(listener_fd,),
        ),
        Part("runner", [*rdev, "runner"], environment={"RDEV_PROCESS": "runner"}),
        Part("triggers", [*rdev, "triggers"], environment={"RDEV_PROCESS": "triggers"}),
    ]


def end_postgres(data_dir: Path) -> None:
    """End a server that runs on this data folder; the caller holds the home, so it is a stray."""
    pid = _postmaster(data_dir)
    if pid in processes_in(data_dir.resolve()):
        mark = start_mark(pid) or ""
        end_all([Recorded("postgres", pid, mark, signal.SIGINT, signal.SIGQUIT)])


def forget_stale_pid(postgres: Postgres) -> None:
    """Remove the lock files of a dead server whose pid is somebody else's by now: Postgres would
    take that process for itself and never start. While any process of the old server is left they
    stay, since they are what keeps two servers off the same files."""
    if not Path("/proc/self").exists() or processes_in(postgres.data_dir.resolve()):
        return
    (postgres.data_dir / "postmaster.pid").unlink(missing_ok=True)
    for leftover in postgres.socket_dir.glob(".s.PGSQL.*"):
        leftover.unlink(missing_ok=True)


def _postmaster(data_dir: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int((data_dir / "postmaster.pid").read_text().splitlines()[0])
    return 0
