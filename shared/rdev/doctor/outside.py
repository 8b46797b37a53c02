"""A deployment as its callers see it: by its URL and a key."""

import socket
import ssl
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from rdev.doctor.findings import Check, Level, Trouble, skewed
from rdev.doctor.queue import judged_queue

_CALL_S = 8.0
_DAYS_WARN = 21
_SLOW_S = 1.0
_KEY_DAYS_WARN = 7
_ROUNDS = 5
_AGAIN_S = 1.5
_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _UNAVAILABLE = 200, 401, 403, 404, 503
_IMPORTANT = {
    "postgres": "Nothing works without it: look at the server, and at RDEV_DATABASE_URL.",
    "redis": "Commands still run, streams stand still: look at it, and at RDEV_REDIS_URL.",
    "kubernetes": "Look at the API server, and at what the service accounts may do.",
    "archive": "Commands run on, and Redis keeps their output: look at RDEV_ARCHIVE_URL, the "
    "credentials and the disk.",
    "sweep": "Look at the runners and at the schedule that wakes them.",
}


class Outside:
    """Asks with short limits, tries nothing twice, and follows no redirect with the key."""

    def __init__(self, server: str, api_key: str, *, now: Callable[[], float] = time.time) -> None:
        self._url = urlsplit(server)
        self._now = now
        self._ready_answer: httpx.Response | None = None
        loopback = self._url.hostname in ("127.0.0.1", "::1", "localhost")
        self._http = httpx.Client(
            base_url=server,
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": "rdev"},
            timeout=_CALL_S,
            trust_env=not loopback,
        )

    def close(self) -> None:
        self._http.close()

    def checks(self) -> list[Check]:
        tls = [Check("certificate", self._certificate, ("address",))]
        reach = ("address", "certificate", "health")
        return [
            Check("address", self._address),
            *(tls if self._url.scheme == "https" else []),
            Check("health", self._health, ("address", "certificate")),
            *(Check(f"{name}", self._ready(name), reach) for name in _IMPORTANT),
            Check("clock", self._clock, reach),
            Check("key", self._key, reach),
            Check("queue", self._queue, (*reach, "key")),
            Check("stream", self._stream, (*reach, "key")),
            Check("round trip", self._round_trip, reach),
        ]

    def _address(self) -> str:
        host = self._url.hostname or ""
        try:
            found = socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise Trouble(
                f"the name {host!r} cannot be looked up: {exc}",
                "Look at the name in --server or RDEV_SERVER, and at its DNS record.",
            ) from None
        return f"{host} is {', '.join(sorted({str(each[4][0]) for each in found}))}"

    @property
    def _port(self) -> int:
        return self._url.port or (443 if self._url.scheme == "https" else 80)

    def _certificate(self) -> str:
        host = self._url.hostname or ""
        context = ssl.create_default_context()
        try:
            with (
                socket.create_connection((host, self._port), _CALL_S) as link,
                context.wrap_socket(link, server_hostname=host) as secured,
            ):
                certificate, version = secured.getpeercert() or {}, secured.version()
        except ssl.SSLCertVerificationError as exc:
            raise Trouble(
                f"the certificate is not good: {exc.verify_message}",
                "Renew it, or have it name this host; a private authority goes into SSL_CERT_FILE.",
            ) from None
        except OSError as exc:
            raise Trouble(
                f"no TLS at {host}:{self._port}: {exc}", "Look at what listens there."
            ) from None
        days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - self._now()) / 86400
        if days < _DAYS_WARN:
            raise Trouble(
                f"the certificate expires in {days:.0f} days",
                "Renew it, and look at why that does not happen by itself.",
                level=Level.WARN,
            )
        return f"{version}, the certificate is good for {days:.0f} days"

    def _health(self) -> str:
        try:
            answer = self._http.get("/health")
        except httpx.HTTPError as exc:
            raise Trouble(
                f"{self._url.hostname}:{self._port} does not answer: {exc or type(exc).__name__}",
                "Is it running? `make run` (or `rdev up`) starts it here; on a cluster: "
                "`kubectl get ksvc -n rdev`.",
            ) from None
        data = _data(answer)
        if answer.status_code != _OK or data.get("status") != "ok":
            raise Trouble(
                f"/health answers {answer.status_code}, and not as rdev does",
                "Look at what is at that address: a proxy in front may lead elsewhere.",
            )
        return f"rdev {data.get('version')} answers"

    def _ready(self, name: str) -> Callable[[], str]:
        def look() -> str:
            answer = self._ready_answer = self._ready_answer or self._asked_ready()
            check = (_data(answer).get("checks") or {}).get(name)
            if not isinstance(check, dict):
                raise Trouble("/ready does not speak of it", level=Level.SKIPPED)
            breaker = f" (circuit breaker: {check['breaker']})" if "breaker" in check else ""
            if check.get("status") == "ok":
                return f"answers{breaker}" if name != "sweep" else "done lately"
            # What /ready says without refusing to serve is a warning.
            level = Level.FAIL if answer.status_code == _UNAVAILABLE else Level.WARN
            level = Level.FAIL if name == "archive" else level
            raise Trouble(f"{check.get('reason')}{breaker}", _IMPORTANT[name], level=level)

        return look

    def _asked_ready(self) -> httpx.Response:
        """Twice where it says no: a function that has just started connects with the first."""
        answer = self._asked("/ready")
        if answer.status_code == _UNAVAILABLE:
            time.sleep(_AGAIN_S)
            answer = self._asked("/ready")
        return answer

    def _clock(self) -> str:
        before = self._now()
        answer = self._http.get("/health")
        middle = (before + self._now()) / 2
        try:
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            raise Trouble("the answer has no Date", level=Level.SKIPPED) from None
        return skewed("the server's", theirs + 0.5 - middle)  # it counts whole seconds

    def _key(self) -> str:
        answer = self._asked("/keys/self")
        if answer.status_code == _UNAUTHORIZED:
            raise Trouble(
                "the key is not accepted",
                "Was it revoked, did it expire, is it another server's? With another pepper "
                "(RDEV_PEPPER) no key works. `rdev keys bootstrap --recover` makes a new admin.",
            )
        if answer.status_code == _FORBIDDEN:
            raise Trouble(_message(answer), "Use it from an address that `allowed_ips` has.")
        if answer.status_code == _NOT_FOUND:
            raise Trouble("this server cannot tell what a key may do", level=Level.SKIPPED)
        if answer.status_code != _OK:
            raise Trouble(f"GET /keys/self answers {answer.status_code}: {_message(answer)}")
        key = _data(answer)
        found = f"{key['id']} may {', '.join(key['scopes'])} in {', '.join(key['projects'])}"
        if (left := _days_left(key.get("expires_at"), self._now())) is not None:
            found += f"; it expires in {left:.0f} days"
            if left < _KEY_DAYS_WARN:
                raise Trouble(found, "Make another one in time.", level=Level.WARN)
        return found

    def _asked(self, path: str) -> httpx.Response:
        try:
            return self._http.get(path)
        except httpx.HTTPError as exc:
            raise Trouble(
                f"GET {path} is not answered: {exc or type(exc).__name__}",
                "A store that hangs makes requests wait: see what /ready says of them.",
            ) from None

    def _queue(self) -> str:
        answer = self._asked("/queue")
        if answer.status_code == _FORBIDDEN:
            raise Trouble("this key may not see it (projects:read)", level=Level.SKIPPED)
        if answer.status_code != _OK:
            raise Trouble(f"GET /queue answers {answer.status_code}: {_message(answer)}")
        return judged_queue(answer.json()["data"])

    def _stream(self) -> str:
        listed = self._asked("/projects?limit=1")
        if listed.status_code == _FORBIDDEN or not (projects := listed.json().get("data")):
            raise Trouble("there is no project whose events this key sees", level=Level.SKIPPED)
        began = time.monotonic()
        path = f"/projects/{projects[0]['id']}/events"
        try:
            with self._http.stream("GET", path) as answer:
                if answer.status_code != _OK:
                    answer.read()
                    raise Trouble(f"it answers {answer.status_code}: {_message(answer)}")
                next(answer.iter_raw())
        except (httpx.TimeoutException, StopIteration):
            raise Trouble(
                f"nothing came within {_CALL_S:g} s, although rdev sends at once",
                "A proxy in front gathers what it should pass on: switch its buffering and its "
                "compression off for /projects/*/events (nginx: proxy_buffering off).",
            ) from None
        return f"the first bytes came after {(time.monotonic() - began) * 1000:.0f} ms"

    def _round_trip(self) -> str:
        took = []
        for _ in range(_ROUNDS):
            began = time.monotonic()
            self._asked("/keys/self")
            took.append(time.monotonic() - began)
        middle = statistics.median(took)
        found = f"{middle * 1000:.0f} ms for an authenticated request (median of {_ROUNDS})"
        if middle > _SLOW_S:
            raise Trouble(
                found, "Functions that start cold, or slow stores: see traces.", level=Level.WARN
            )
        return found


def _data(answer: httpx.Response) -> dict[str, Any]:
    try:
        data = answer.json().get("data")
    except (ValueError, AttributeError):
        return {}
    return data if isinstance(data, dict) else {}


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def _days_left(expires_at: str | None, now: float) -> float | None:
    if not expires_at:
        return None
    until = datetime.fromisoformat(expires_at.replace("Z", "+00:00")).astimezone(UTC)
    return (until.timestamp() - now) / 86400
