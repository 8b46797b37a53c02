"""The version of rdev before this one, as it was: not a copy of its formats, but its code. It runs
beside the present one in these tests. docs/operations/upgrades.md tells how it is renewed."""

import tarfile
from pathlib import Path

_ARCHIVE = Path(__file__).with_name("former.tar.xz")


def unpack(into: Path) -> Path:
    """Its source root. Its supervisor gets a line of its own, so that the two differ there too."""
    with tarfile.open(_ARCHIVE) as archive:
        archive.extractall(into, filter="data")
    into.chmod(0o755)
    supervisor = into / "shared/rdev/adapters/workspaces/supervisor.sh"
    supervisor.write_text(f"# The former version.\n{supervisor.read_text()}")
    return into
