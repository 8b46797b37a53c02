"""Root file systems made of what this machine has.

debian          its own /usr and /etc
alpine          a busybox with all its applets, and nothing else
distroless-sh   a busybox with the few applets of DISTROLESS
no-shell        a `sleep`, and nothing else
"""

import re
import shutil
import subprocess
from pathlib import Path

DISTROLESS = (
    *("sh", "cat", "dd", "env", "find", "grep", "head", "ln", "ls", "mkdir", "mkfifo", "mv", "rm"),
    *("printf", "setsid", "sha256sum", "sleep", "sync", "touch", "true"),
)
"""As many as the scripts that rdev puts into a pod need, and two that tests run."""
IMAGES = ("debian", "alpine", "distroless-sh", "no-shell")
DEVICES = ("null", "zero", "full", "random", "urandom")


class ImagePullFailed(Exception):
    """There is no such image."""


def lay_out(image: str, root: Path) -> dict[Path, str]:
    """Fill an empty folder with an image's files. What is left to be mounted read-only: folders
    of the host, and where."""
    name = image.rpartition("/")[2].partition(":")[0]
    if name not in IMAGES:
        raise ImagePullFailed(f"{image}: there are only {', '.join(IMAGES)}")
    root.mkdir(parents=True)
    root.chmod(0o755)
    for place in ("proc", "tmp", "dev"):
        (root / place).mkdir()
    (root / "tmp").chmod(0o1777)
    for device in DEVICES:
        (root / "dev" / device).touch()
    for link, target in {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        (root / "dev" / link).symlink_to(f"/proc/self/{target}")
    if name == "debian":
        return _of_this_machine(root)
    applets = {"alpine": _all_applets(), "distroless-sh": DISTROLESS, "no-shell": ("sleep",)}[name]
    _busybox(root, applets)
    return {}


def _of_this_machine(root: Path) -> dict[Path, str]:
    mounts = {Path("/usr"): "usr", Path("/etc"): "etc"}
    for name in ("bin", "sbin", "lib", "lib64"):
        here = Path("/", name)
        if here.is_symlink():
            (root / name).symlink_to(here.readlink())
        elif here.is_dir():
            mounts[here] = name
    for place in mounts.values():
        (root / place).mkdir()
    return mounts


def _busybox(root: Path, applets: tuple[str, ...]) -> None:
    binary = _binary()
    place = root / "bin"
    place.mkdir()
    shutil.copy(binary, place / "busybox")
    for library in _libraries(binary):
        there = root / library.relative_to("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, there)
    for applet in applets:
        if applet != "busybox":
            (place / applet).symlink_to("busybox")
    if applets == ("sleep",):
        (place / "sleep").unlink()
        (place / "busybox").rename(place / "sleep")


def _binary() -> Path:
    found = shutil.which("busybox")
    assert found, "install busybox-static: images of the stand-in are made of it"
    return Path(found)


def _all_applets() -> tuple[str, ...]:
    listed = subprocess.run([_binary(), "--list"], capture_output=True, check=True, text=True)
    return tuple(listed.stdout.split())


def _libraries(binary: Path) -> list[Path]:
    """None where it is linked statically."""
    told = subprocess.run(["ldd", binary], capture_output=True, check=False, text=True)
    return [Path(each) for each in re.findall(r"(/\S+) \(0x", told.stdout)]
