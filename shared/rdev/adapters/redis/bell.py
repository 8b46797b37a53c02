"""The bell of those who send webhooks: one entry that is replaced. May be lost; then what is due
is found when somebody looks."""

from typing import Any

from rdev.adapters.redis.connect import translated

_BELL = "rdev:{deliveries}:bell"


class DeliveryBell:
    """`client` answers at once; `blocking` may wait. Both are redis-py's, with RESP2."""

    def __init__(self, client: Any, blocking: Any) -> None:
        self._client = client
        self._blocking = blocking

    def ring(self) -> None:
        with translated():
            self._client.xadd(_BELL, {"due": 1}, maxlen=1, approximate=False)

    def wait(self, after: str, timeout_s: float) -> str:
        with translated():
            if after == "$":
                last = self._client.xrevrange(_BELL, count=1)
                return last[0][0].decode() if last else "0-0"
            found = self._blocking.xread({_BELL: after}, block=max(1, int(timeout_s * 1000)))
        return found[0][1][-1][0].decode() if found else after
