"""Root file systems made of what this machine has.

debian          its own /usr and /etc
alpine          a busybox with all its applets, and nothing else
distroless-sh   a busybox with the few applets of DISTROLESS, and a shell that has no more
no-shell        a `sleep`, and nothing else
"""

import re
import shutil
import subprocess
from pathlib import Path

DISTROLESS = (
    *("sh", "cat", "dd", "env", "find", "grep", "head", "ln", "ls", "mkdir", "mkfifo", "mv", "rm"),
    *("setsid", "sha256sum", "sleep", "sync", "touch"),
    *("chmod", "printf", "rmdir", "tr", "true", "wc"),
)
"""As many as the scripts that rdev puts into a pod need (docs/kubernetes.md names them), and in the
last line those that the suite's own commands run."""
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
    _put(binary, place / "busybox", root)
    for applet in applets:
        if applet != "busybox":
            (place / applet).symlink_to("busybox")
    if applets is DISTROLESS and _knows_all_applets(binary):
        (place / "sh").unlink()
        _put(_found("dash", "dash"), place / "sh", root)
    if applets == ("sleep",):
        (place / "sleep").unlink()
        (place / "busybox").rename(place / "sleep")


def _put(binary: Path, there: Path, root: Path) -> None:
    """With the libraries that it is linked with."""
    shutil.copy(binary, there)
    for library in _libraries(binary):
        beside = root / library.relative_to("/")
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, beside)


def _binary() -> Path:
    return _found("busybox", "busybox-static")


def _found(name: str, package: str) -> Path:
    found = shutil.which(name)
    assert found, f"install {package}: images of the stand-in are made of it"
    return Path(found)


def _knows_all_applets(binary: Path) -> bool:
    """Whether its shell runs them also where there is no such file, as Debian's static one does."""
    asked = [binary, "sh", "-c", "ls / >/dev/null 2>&1"]
    return subprocess.run(asked, check=False, env={"PATH": "/nowhere"}).returncode == 0


def _all_applets() -> tuple[str, ...]:
    listed = subprocess.run([_binary(), "--list"], capture_output=True, check=True, text=True)
    return tuple(listed.stdout.split())


def _libraries(binary: Path) -> list[Path]:
    """None where it is linked statically."""
    told = subprocess.run(["ldd", binary], capture_output=True, check=False, text=True)
    return [Path(each) for each in re.findall(r"(/\S+) \(0x", told.stdout)]
