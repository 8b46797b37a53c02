"""One replica, as a process: lets requests of a key in, as fast as it can, and says when.

A line with a secret on stdin begins a round; `go` was said by now when `warm` is printed. The round
is over some time after the first refusal: then the begin of the last request that was let in is
printed, by the monotonic clock that all processes of a machine share.
"""

import sys
import time

from key_service import authentication
from rdev.adapters.postgres.database import Database
from rdev.errors import Unauthorized

AFTER_S = 0.3


def main(database_url: str, redis_url: str) -> None:
    database = Database(database_url, pool_size=2, timeout_s=20)
    door = authentication(database, redis_url)
    for line in sys.stdin:
        say(last_let_in(door, line.strip()))
    database.close()


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def last_let_in(door, secret: str) -> float:
    last, count, until = 0.0, 0, float("inf")
    while (began := time.monotonic()) < until:
        try:
            door.admit(secret, None)
        except Unauthorized:
            until = min(until, began + AFTER_S)
            continue
        last, count = began, count + 1
        if count == 10:
            say("warm")
    return last


if __name__ == "__main__":
    main(*sys.argv[1:])
