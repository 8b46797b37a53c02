"""What the files and processes of a command that has started say of it. Pure: whoever asks has
looked, here or in a pod."""

from collections.abc import Callable

from rdev.adapters.workspaces.processes import Process
from rdev.adapters.workspaces.start_token import StartToken
from rdev.ports import Liveness

NEVER_BEGAN = "The process that was to become it was killed before it began. Submit it again."


def of_started(
    token: StartToken,
    boot: str,
    *,
    has: Callable[[str], bool],
    ended: Callable[[], bool],
    alive: Callable[[Process], bool],
) -> Liveness | None:
    """`boot` is the machine's that is asked; `ended` says whether the leader ended or declined.
    None: abandoned, nobody is left to end it properly. Who looks at files and processes at
    different times looks at the processes first: what they leave behind is final."""
    takers = [taker for taker in token.takers if taker.boot == boot]
    if not takers and token.takers:  # the machine was started anew since, or is another one
        return Liveness.ENDED if has("synced") else Liveness.DEAD
    if has("done"):
        return Liveness.ENDED
    supervised = any(alive(taker.supervisor) for taker in takers)
    if not supervised and not any(alive(taker.leader) for taker in takers):
        return None
    if not ended():
        return Liveness.RUNNING if token.signed else Liveness.PREPARED
    return Liveness.DRAINING if supervised else None


def never_began(token: StartToken, boot: str) -> bool:
    """Of a token that nobody alive can sign. Signing comes before everything else, and is lost by
    a power cut alone. The token stays where it is: to take it away so that another may start could
    let two of them in."""
    return bool(boot) and not token.signed and token.boots == {boot}
