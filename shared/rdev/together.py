"""Calls that come at the same time, made as one: whoever finds nobody asking asks, and what comes
meanwhile is asked next, all of it at once. Under load many share a round trip; a lone call waits
for nobody. Nothing is kept: no call is answered by what was asked before it came.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from rdev.errors import StoreUnavailable

Asked = TypeVar("Asked")
Told = TypeVar("Told")

_MOST = 100
_TOO_MANY = "Too many wait for a store. Try again after `Retry-After`."
_BROKEN_OFF = "What was asked for broke off. Try again after `Retry-After`."


@dataclass(slots=True, eq=False)
class _Call(Generic[Asked, Told]):
    asked: Asked
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Held until it is answered, or is to ask for all."""
    leads: bool = False
    told: Told | None = None
    error: Exception | None = None


class Together(Generic[Asked, Told]):
    """`ask` is given what several callers want and answers each in its place; what it raises, all
    of them raise, and a StoreUnavailable also those who wait. It is never called twice at a time,
    and ends by itself."""

    def __init__(
        self,
        ask: Callable[[Sequence[Asked]], Sequence[Told]],
        *,
        timeout_s: float,
        most: int = _MOST,
    ) -> None:
        """Whoever is not answered within `timeout_s` gets StoreUnavailable; at most so many are
        asked at once. To be made where threads are what they will be: not before gevent patches."""
        self._ask = ask
        self._timeout_s = timeout_s
        self._most = most
        self._lock = threading.Lock()
        self._asking = False
        self._waiting: deque[_Call[Asked, Told]] = deque()

    def __call__(self, asked: Asked) -> Told:
        call: _Call[Asked, Told] = _Call(asked)
        with self._lock:
            waits, self._asking = self._asking, True
            if waits:
                call.turn.acquire()
                self._waiting.append(call)
        if waits:
            self._wait(call)
        if call.leads or not waits:
            return self._lead(call)
        if call.error is not None:
            raise call.error
        return cast("Told", call.told)

    def _wait(self, call: _Call[Asked, Told]) -> None:
        """Until it is answered, or leads."""
        try:
            if call.turn.acquire(timeout=self._timeout_s):
                return
        except BaseException:  # this caller is being ended: the others go on
            self._leave(call)
            raise
        self._leave(call)
        raise StoreUnavailable(_TOO_MANY)

    def _leave(self, call: _Call[Asked, Told]) -> None:
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)
            leads = call.leads
        if leads:
            self._pass_on()

    def _lead(self, call: _Call[Asked, Told]) -> Told:
        batch = [call]
        if call.leads:
            with self._lock:
                while self._waiting and len(batch) < self._most:
                    batch.append(self._waiting.popleft())
        try:
            told = self._ask([each.asked for each in batch])
            for each, answer in zip(batch, told, strict=True):
                each.told = answer
        except BaseException as exc:
            shared = exc if isinstance(exc, Exception) else StoreUnavailable(_BROKEN_OFF)
            if isinstance(exc, StoreUnavailable):  # nobody waits for a lost store twice
                with self._lock:
                    batch += self._waiting
                    self._waiting.clear()
            for each in batch:
                each.error = shared
            raise
        finally:
            self._pass_on()
            for each in batch[1:]:
                each.turn.release()
        return told[0]

    def _pass_on(self) -> None:
        with self._lock:
            if not self._waiting:
                self._asking = False
                return
            following = self._waiting.popleft()
            following.leads = True
            following.turn.release()
