"""Names to addresses, with a time limit that holds: getaddrinfo itself may block for half a minute.

Each lookup has a thread of its own (a greenlet under gevent), that its callers wait for as long
as they can. Those who ask for the same name share a lookup. Answers are kept for seconds only:
long enough to spare a busy endpoint a lookup a request, short enough to follow a name that moves.
"""

import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Resolve = Callable[[str], Sequence[str]]
"""The addresses of a name, as text. Raises OSError (socket.gaierror) where there are none."""

_LOOKUPS = 32
_KEEP_NAMES = 1024
_CONTROL_NAME = "rdev-asks.invalid"
_CONTROL_S = 2.0
_NO_SUCH_NAME = {
    getattr(socket, f"EAI_{word}", None) for word in ("NONAME", "NODATA", "ADDRFAMILY")
}
_NO_SUCH_NAME -= {None}


class Unresolved(Exception):
    """The name has no address. `ours`: because nothing can be looked up here at all."""

    def __init__(self, message: str, *, ours: bool = False) -> None:
        super().__init__(message)
        self.ours = ours


@dataclass(slots=True, eq=False)
class _Lookup:
    done: threading.Event = field(default_factory=threading.Event)
    addresses: Sequence[str] = ()
    error: OSError | None = None


def system_resolve(name: str) -> list[str]:
    """What the machine's own resolver says, hosts file and all, in the order it recommends."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Names:
    """Looks names up through `resolve`, many at once but never more than 32."""

    def __init__(self, resolve: Resolve, keep_s: float) -> None:
        self._resolve = resolve
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._free = threading.Semaphore(_LOOKUPS)
        self._running: dict[str, _Lookup] = {}
        self._kept: OrderedDict[str, tuple[float, Sequence[str]]] = OrderedDict()

    def addresses(self, name: str, within_s: float) -> Sequence[str]:
        """All of a name's addresses. Raises Unresolved, after half as long again at most; `ours`
        is True where a name that nobody can have gets no proper "no" either: then the resolver is
        what fails, not the name."""
        kept = self._kept.get(name)
        if kept and time.monotonic() < kept[0]:
            return kept[1]
        lookup = self._lookup(name, within_s)
        if not lookup.error:
            return lookup.addresses
        raise Unresolved(_explain(lookup.error), ours=not self._answers(lookup.error, within_s / 2))

    def _answers(self, error: OSError, within_s: float) -> bool:
        """Whether the resolver works, after it failed: it does if it knows what is not there."""
        if error.errno in _NO_SUCH_NAME:
            return True
        try:
            control = self._lookup(_CONTROL_NAME, min(within_s, _CONTROL_S)).error
        except Unresolved:
            return False
        return control is None or control.errno in _NO_SUCH_NAME

    def _lookup(self, name: str, within_s: float) -> _Lookup:
        until = time.monotonic() + within_s
        lookup = self._running.get(name)
        if not lookup:
            if not self._free.acquire(timeout=within_s):
                raise Unresolved("Too many names are being looked up.", ours=True)
            lookup = self._joined(name)
        if not lookup.done.wait(max(0.0, until - time.monotonic())):
            return _Lookup(error=TimeoutError())
        return lookup

    def _joined(self, name: str) -> _Lookup:
        """Somebody else's lookup of the name if there is one by now, else one that begins here."""
        with self._lock:
            lookup = self._running.get(name)
            if lookup:
                self._free.release()
                return lookup
            lookup = _Lookup()
            thread = threading.Thread(
                target=self._run, args=(name, lookup), name="webhook-lookup", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as exc:
                self._free.release()
                raise Unresolved(f"No thread for a lookup: {exc}", ours=True) from exc
            self._running[name] = lookup
            return lookup

    def _run(self, name: str, lookup: _Lookup) -> None:
        try:
            lookup.addresses = self._resolve(name)
        except OSError as exc:
            lookup.error = exc
        except UnicodeError as exc:  # getaddrinfo's own, for names that DNS cannot carry
            lookup.error = socket.gaierror(socket.EAI_NONAME, str(exc))
        except Exception as exc:  # noqa: BLE001 - whoever waits must be told
            lookup.error = OSError(f"{type(exc).__name__} in the resolver")
        finally:
            self._finish(name, lookup)

    def _finish(self, name: str, lookup: _Lookup) -> None:
        with self._lock:
            del self._running[name]
            if not lookup.error:
                self._kept[name] = (time.monotonic() + self._keep_s, lookup.addresses)
                self._kept.move_to_end(name)
                if len(self._kept) > _KEEP_NAMES:
                    self._kept.popitem(last=False)
        self._free.release()
        lookup.done.set()


def _explain(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "The host's name was not resolved in time."
    if error.errno in _NO_SUCH_NAME:
        return "The host's name does not exist."
    return f"The host's name cannot be resolved: {error.strerror or error}."
