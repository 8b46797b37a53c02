"""HTTP to one server: the key, time limits, retries that cannot do a thing twice, the envelope.

Stands apart so that the resources in `rdev.client.client` are one line each. All of httpx's
errors end here.
"""

import random
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from rdev.client.errors import (
    ApiError,
    CannotConnect,
    ClientError,
    Detail,
    Disconnected,
    NotRdev,
    error_for,
)

_TOO_MANY = 429  # refused before anything was done: safe to repeat whatever it was
_PASSING = frozenset({_TOO_MANY, 502, 503, 504})
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to keep trying. A server that restarts is back within a second or two."""

    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 30.0
    refused_s: float = 1.5
    """How long a server that cannot be reached is tried again."""
    retry_s: float = 30.0
    """How long an answer that may pass (429, 5xx, a broken connection) is tried again."""
    silence_s: float = 45.0
    """An event stream that says nothing for this long, no heartbeat either, is broken."""
    stalled_s: float = 120.0
    """How long an event stream may make no progress, over any number of connections."""


class Transport:
    """One server and one key. May be used by several threads at once."""

    def __init__(self, base_url: str, api_key: str, patience: Patience) -> None:
        url = _checked_url(base_url)
        self.patience = patience
        self.base_url = str(url).rstrip("/")
        self._http = httpx.Client(
            base_url=url,
            # Not X-API-Key: httpx keeps Authorization out of its reprs, and off other hosts.
            headers={"Authorization": f"Bearer {_checked_key(api_key)}", "User-Agent": "rdev"},
            timeout=httpx.Timeout(patience.answer_timeout_s, connect=patience.connect_timeout_s),
            # Reading the machine's certificates takes 20 ms that plain HTTP need not pay.
            verify=_no_tls() if url.scheme == "http" else True,
            # A proxy for the world must not be asked for this machine.
            trust_env=url.host not in _LOOPBACK,
        )

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool,
    ) -> dict[str, Any]:
        """The whole envelope of the answer; {} for an empty one. Sends `body` as JSON, or
        `content` as it is.

        `repeatable`: doing it twice is doing it once, so it is sent again also where it may have
        been carried out already (a broken connection, a 502)."""
        attempts = Attempts(self.patience)
        if content is not None:
            headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        while True:
            try:
                with _translated(self.base_url):
                    response = self._http.request(
                        method, path, json=body, content=content, params=params, headers=headers
                    )
                return _envelope(response)
            except ClientError as exc:
                attempts.wait_or_raise(exc, repeatable=repeatable)

    @contextmanager
    def stream(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Iterator[httpx.Response]:
        """A GET whose answer is read as it comes. Once; refusals raise as in `call`."""
        patience = self.patience
        timeout = httpx.Timeout(patience.silence_s, connect=patience.connect_timeout_s)
        with (
            _translated(self.base_url),
            self._http.stream(
                "GET", path, params=params, headers=headers, timeout=timeout
            ) as response,
        ):
            if response.status_code >= 300:  # noqa: PLR2004 - redirects are no answer either
                response.read()
                _envelope(response)
            yield response


class Attempts:
    """Decides whether a failed request is tried again, and waits before it is."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._began = time.monotonic()
        self._count = 0

    def wait_or_raise(self, exc: ClientError, *, repeatable: bool) -> None:
        """Sleep for a jittered, growing while; raise `exc` where trying again is no use."""
        limit_s = self._limit_s(exc, repeatable=repeatable)
        delay_s = backoff_s(self._count, exc)
        if time.monotonic() + delay_s - self._began > limit_s:
            raise exc
        self._count += 1
        time.sleep(delay_s)

    def _limit_s(self, exc: ClientError, *, repeatable: bool) -> float:
        if isinstance(exc, CannotConnect):
            return self._patience.refused_s
        if isinstance(exc, ApiError) and exc.status == _TOO_MANY:
            return self._patience.retry_s
        return self._patience.retry_s if repeatable and is_passing(exc) else 0.0


def is_passing(exc: ClientError) -> bool:
    """Whether the same request may well succeed in a while."""
    if isinstance(exc, ApiError):
        return exc.status in _PASSING
    return isinstance(exc, CannotConnect | Disconnected)


def backoff_s(attempt: int, exc: ClientError | None = None) -> float:
    """Full jitter up to 5 s, so that a thousand clients of one server do not come back as one;
    never before the server's Retry-After."""
    delay: float = random.uniform(0.05, min(5.0, 0.2 * 2.0 ** min(attempt, 8)))  # noqa: S311
    asked = exc.retry_after_s if isinstance(exc, ApiError) else None
    return delay if asked is None else asked + delay


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """httpx's errors become the client's. `from None`: its requests hold the key and the body."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
        raise CannotConnect(url, str(exc) or "no answer in time") from None
    except httpx.TimeoutException:
        raise Disconnected(f"{url} did not answer in time") from None
    except httpx.TransportError as exc:
        raise Disconnected(f"the connection to {url} broke ({exc})") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
        raise NotRdev(f"{url} gave an answer that cannot be read ({exc})") from None


def _envelope(response: httpx.Response) -> dict[str, Any]:
    where = f"{response.request.method} {response.request.url.path}"
    if response.is_success and not response.content:
        return {}
    try:
        envelope = response.json()
    except ValueError:
        envelope = None
    if response.is_success and isinstance(envelope, dict) and "data" in envelope:
        return envelope
    error = envelope.get("error") if isinstance(envelope, dict) else None
    if not isinstance(error, dict) and response.status_code < 500:  # noqa: PLR2004
        raise NotRdev(f"{where} was answered with {response.status_code}, and not by rdev")
    raise _refusal(response, error if isinstance(error, dict) else {}, envelope, where)


def _refusal(
    response: httpx.Response, error: Mapping[str, Any], envelope: Any, where: str
) -> ApiError:
    meta = envelope.get("meta") if isinstance(envelope, dict) else None
    request_id = (meta or {}).get("request_id") or response.headers.get("X-Request-ID")
    return error_for(response.status_code)(
        response.status_code,
        str(error.get("code") or "INTERNAL_ERROR"),
        str(error.get("message") or f"{where} was answered with {response.status_code}"),
        details=tuple(
            Detail(str(each.get("field")), str(each.get("message")))
            for each in error.get("details") or ()
            if isinstance(each, dict)
        ),
        request_id=request_id,
        retry_after_s=_retry_after_s(response),
    )


def _retry_after_s(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:  # absent, or a date: nothing of rdev sends one
        return None


def _checked_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as exc:
        raise ClientError(f"the server's address {base_url!r} is no URL ({exc})") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ClientError(
            f"the server's address {base_url!r} is no URL; write it as http://127.0.0.1:8080"
        )
    return url


def _checked_key(api_key: str) -> str:
    """A key that a header can carry. The error does not show it."""
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ClientError("the API key is empty or holds characters that no key has")
    return key


def _no_tls() -> ssl.SSLContext:
    """A context that trusts nobody: never used, and safe if it were."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
