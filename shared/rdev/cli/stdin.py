"""This process's stdin, sent to a command as it comes: what a pipe would do."""

import os
import select
import threading
from typing import TYPE_CHECKING

from rdev.cli.connection import explain
from rdev.cli.terminal import complain

if TYPE_CHECKING:
    from rdev.client import Client, Command

STDIN = 0
_PIECE_BYTES = 500_000
"""At most as much at a time: the server takes twice as much in one request."""


def forward(client: "Client", project: str, command: "Command") -> None:
    """Send all of it, to its end, in the command's pace. Ends early where the command takes no
    more, as a local pipe would; says so where it fails for another reason."""
    from rdev.client import ClientError, Conflict, TooManyRequests

    offset, ended = 0, False
    while not ended:
        data, ended = _piece()
        while True:
            try:
                offset = client.send_input(project, command.id, data, offset=offset, close=ended)
                break
            except TooManyRequests:
                pass  # it has much to read; the client has waited already
            except Conflict:
                return
            except ClientError as exc:
                complain(f"stdin did not reach {command.id} any more: {explain(exc)}")
                return


def forward_beside(client: "Client", project: str, command: "Command") -> None:
    """The same in a thread, which ends with the process: stdin may never end."""
    arguments = (client, project, command)
    threading.Thread(target=forward, args=arguments, name="stdin", daemon=True).start()


def _piece() -> tuple[bytes, bool]:
    """What there is, as soon as there is something; and whether that is the end."""
    data = bytearray()
    while len(data) < _PIECE_BYTES:
        if data and not select.select([STDIN], [], [], 0)[0]:
            return bytes(data), False
        try:
            # Not sys.stdin: a thread that blocks in its lock would keep Python from ending.
            more = os.read(STDIN, _PIECE_BYTES - len(data))
        except BlockingIOError:
            select.select([STDIN], [], [])
            continue
        except OSError:  # there is none
            more = b""
        if not more:
            return bytes(data), True
        data += more
    return bytes(data), False
