"""`python -m rdev.doctor`: the checks from inside, as JSON. For the images of the functions, which
have no `rdev` command."""

import sys

from rdev.doctor.findings import examine
from rdev.doctor.inside import Inside
from rdev.doctor.report import as_json, failed


def main() -> int:
    inside = Inside()
    found = list(examine("inside", inside.checks(), inside.secrets()))
    sys.stdout.write(as_json(found) + "\n")
    return int(failed(found))


if __name__ == "__main__":
    sys.exit(main())
