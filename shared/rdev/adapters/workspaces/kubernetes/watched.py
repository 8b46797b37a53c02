"""All objects of one kind that match a selector, kept as they are by list and watch.

One thread, begun at the first need. It lists, then watches from there; a watch that ends goes on
where it was (bookmarks keep that place recent); where the API no longer has that place (410) it
lists anew. In between it pauses, with jitter, and longer and longer while that brings nothing.
Whoever reads is told how old the last word of the API is: what is known is never passed off as
fresh.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rdev.adapters.workspaces.kubernetes.api import Api, ApiRefused
from rdev.errors import WorkspaceUnavailable

if TYPE_CHECKING:
    import urllib3

T = TypeVar("T")
log = logging.getLogger(__name__)

_PAGE = "500"
_WATCH_S = 60
"""The API ends a watch after about so long: the next one shows that it is still there."""
_SILENCE_S = _WATCH_S + 15.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 15.0
_GONE = 410
_LINE_BYTES = 4 << 20
"""An object is at most 1.5 MB in etcd."""
_REMEMBERED = 1000


class _Expired(Exception):
    """The API no longer has the place from which to watch."""


class Watched(Generic[T]):
    """`selector` says which objects. `parse` makes of one what is kept of it, under its uid.
    `on_change` is called after every change, with what is gone if something is; it must not
    block."""

    def __init__(
        self,
        api: Api,
        path: str,
        selector: Mapping[str, str],
        parse: Callable[[dict[str, Any]], T | None],
        on_change: Callable[[T | None], None],
    ) -> None:
        self._api = api
        self._path = path
        self._selector = selector
        self._parse = parse
        self._on_change = on_change
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, T]] = {}
        self._gone: dict[str, int] = {}
        """The versions at which the last went: an answer under way may still tell of them."""
        self._listed = threading.Event()
        self._tried = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._response: urllib3.BaseHTTPResponse | None = None
        self._heard_at = 0.0
        self._trouble: str | None = None
        self._went_on = False
        """Whether the last watch brought anything."""

    def begin(self) -> None:
        """Begin to watch, unless that is so already."""
        with self._lock:
            if self._thread is not None or self._stop.is_set():
                return
            self._thread = threading.Thread(
                target=self._run, name=f"watch {self._path}", daemon=True
            )
            self._thread.start()

    def wait_listed(self, timeout_s: float) -> bool:
        """Whether everything has been seen once. Waits for the first try only: where that failed
        nobody knows how long it will take."""
        self.begin()
        if not self._listed.is_set():
            self._tried.wait(timeout_s)
        return self._listed.is_set()

    def all(self) -> list[T]:
        with self._lock:
            return [value for _, value in self._known.values()]

    def put(self, raw: dict[str, Any]) -> None:
        """Take in an object that was read apart from the watch, where it is newer."""
        self._take("MODIFIED", raw)

    @property
    def age_s(self) -> float:
        """Seconds since the API last said something; how old what is known may be."""
        return time.monotonic() - self._heard_at if self._heard_at else float("inf")

    @property
    def trouble(self) -> str | None:
        """Why it is not up to date, as far as is known."""
        return self._trouble

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        with self._lock:
            thread, response = self._thread, self._response
        if response is not None:
            _shut(response)
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        version: str | None = None
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            self._went_on = False
            try:
                version = version or self._list()
                version = self._watch(version)
            except _Expired:
                version = None
            except WorkspaceUnavailable as exc:
                if isinstance(exc, ApiRefused) and exc.status == _GONE:
                    version = None
                self._note_trouble(exc.message)
            except Exception as exc:  # a thread that ended would not be missed by anybody
                log.exception("%s: lists anew", self._path)
                version = None
                self._note_trouble(f"{type(exc).__name__}; the log has more")
            if self._went_on:
                pause_s = _FIRST_PAUSE_S
            # Also where nothing is wrong: what ends as soon as it begins is not to be asked for
            # without a pause.
            self._stop.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _list(self) -> str:
        """Read all, page by page; replace what is known. From where to watch."""
        found: dict[str, tuple[int, T]] = {}
        page = ""
        while True:
            more = {"continue": page} if page else {}
            try:
                answer = self._api.get(self._path, **self._selector, limit=_PAGE, **more)
            except ApiRefused as exc:
                if exc.status == _GONE and page:
                    raise _Expired from exc
                raise
            for raw in answer.get("items") or ():
                parsed = self._parse(raw)
                if parsed is not None:
                    found[raw["metadata"]["uid"]] = (_version(raw), parsed)
            page = answer["metadata"].get("continue") or ""
            if not page:
                break
        listed = _version(answer)
        with self._lock:
            for uid, known in self._known.items():
                if known[0] > listed:  # read apart from the list, after it
                    found[uid] = known
            gone = [old for uid, (_, old) in self._known.items() if uid not in found]
            self._known = found
        self._heard()
        self._listed.set()
        self._tried.set()
        for old in gone:
            self._on_change(old)
        self._on_change(None)
        return str(answer["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        """Take in changes until the API ends the watch. Where to go on."""
        query = {
            **self._selector,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(int(_WATCH_S * random.uniform(0.8, 1.0))),  # noqa: S311 - jitter
        }
        with self._api.watch(self._path, query, _SILENCE_S) as response:
            with self._lock:
                self._response = response
                if self._stop.is_set():  # before it could be told
                    return version
            self._heard()
            try:
                for line in self._lines(response):
                    version = self._event(line) or version
                    self._went_on = True
                    self._heard()
            finally:
                with self._lock:
                    self._response = None
        return version

    def _lines(self, response: "urllib3.BaseHTTPResponse") -> Any:
        import urllib3

        rest = b""
        try:
            for chunk in response.stream(65536, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _LINE_BYTES:
                    raise WorkspaceUnavailable("the watch sends a line without end")
                yield from (line for line in lines if line)
                if self._stop.is_set():
                    return
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
            if not self._stop.is_set():
                raise WorkspaceUnavailable(f"the watch broke off: {exc}") from exc

    def _event(self, line: bytes) -> str | None:
        """Take one in; its resourceVersion. Raises _Expired where the API wants a list."""
        try:
            event = json.loads(line)
            kind, raw = event["type"], event["object"]
        except (ValueError, KeyError, TypeError) as exc:
            raise WorkspaceUnavailable(f"the watch sent no event: {line[:100]!r}") from exc
        if kind == "ERROR":
            if raw.get("code") == _GONE or raw.get("reason") in ("Expired", "Gone"):
                raise _Expired
            raise WorkspaceUnavailable(f"the watch failed: {raw.get('message')}")
        if kind != "BOOKMARK":
            self._take(kind, raw)
        return str(raw["metadata"].get("resourceVersion") or "") or None

    def _take(self, kind: str, raw: dict[str, Any]) -> None:
        uid = raw["metadata"]["uid"]
        parsed = self._parse(raw)
        gone = None
        with self._lock:
            before = self._known.get(uid)
            if _version(raw) < max(self._gone.get(uid, 0), before[0] if before else 0):
                return  # one of watch and what is read apart from it is behind the other
            if kind == "DELETED":
                self._gone[uid] = _version(raw)
                while len(self._gone) > _REMEMBERED:
                    del self._gone[next(iter(self._gone))]
            if kind != "DELETED" and parsed is not None:
                self._known[uid] = (_version(raw), parsed)
            elif self._known.pop(uid, None) is not None:
                gone = parsed
        self._on_change(gone)

    def _heard(self) -> None:
        self._heard_at = time.monotonic()
        self._trouble = None

    def _note_trouble(self, what: str) -> None:
        if self._trouble is None and not self._stop.is_set():
            log.warning("%s: %s", self._path, what)
        self._trouble = what
        self._tried.set()


def _version(raw: dict[str, Any]) -> int:
    """Versions of one kind are in order (from Kubernetes 1.35 on by its word, before in fact)."""
    text = str(raw["metadata"].get("resourceVersion") or "")
    return int(text) if text.isdecimal() else 0


def _shut(response: "urllib3.BaseHTTPResponse") -> None:
    """Wake whoever reads from it."""
    try:
        response.shutdown()
    except (OSError, ValueError, RuntimeError, AttributeError):
        return  # it is over already
