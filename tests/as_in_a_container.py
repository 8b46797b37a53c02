"""Starts a program as a container's runtime does, in a mount namespace: nothing can be written but
/tmp and /dev/shm, and it runs as the image's user without any privilege. Needs root, and a machine
that lets it mount."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# The interpreter's own folder may lie where others cannot go, such as /root: there the folder it
# lies in is replaced by one that holds nothing else.
_SCRIPT = """
set -e
user=$1 python=$2 closed=$3; shift 3
mount --make-rprivate /
if [ -n "$closed" ]; then
  mount -t tmpfs none /mnt
  mkdir /mnt/python
  mount --bind "$python" /mnt/python
  mount -t tmpfs -o mode=755 none "$closed"
  mkdir -p "$python"
  mount --move /mnt/python "$python"
  umount /mnt
fi
mount -t tmpfs -o mode=1777,size=64m none /tmp
mount -t tmpfs -o mode=1777,size=64m none /dev/shm
mount -o bind,remount,ro /
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --bounding-set=-all \
  --inh-caps=-all -- env -i "$@"
"""


def possible() -> bool:
    mounted = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return mounted.returncode == 0


def words(user: str, environment: Mapping[str, str], command: Sequence[str]) -> list[str]:
    """`user`: a number. The command gets this environment and no other; its signals are the
    caller's to send, for no process stands between."""
    python = Path(sys.base_prefix)
    settings = [f"{name}={value}" for name, value in environment.items()]
    shell = ["sh", "-c", _SCRIPT, "sh", user, str(python), _closed(python)]
    return ["unshare", "-m", *shell, *settings, *command]


def _closed(python: Path) -> str:
    """The first folder on the way there that lets others not through; empty where all do."""
    on_the_way = [*reversed(python.parents), python]
    return next((str(each) for each in on_the_way if not each.stat().st_mode & 0o001), "")
