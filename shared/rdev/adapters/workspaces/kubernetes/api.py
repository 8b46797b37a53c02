"""Calls of the Kubernetes API: JSON in, JSON out, each within a time limit.

Behind one circuit breaker a process: after some failures in a row a call is refused at once, until
a probe (GET /version) gets an answer. An answer is no failure, whatever it says, unless it is a
5xx. The API's own wish for patience (429, Retry-After) is kept by all calls of the process.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rdev.adapters.workspaces.kubernetes.access import authorization
from rdev.breaker import Breaker
from rdev.errors import WorkspaceUnavailable
from rdev.ports import metrics, tracing

if TYPE_CHECKING:
    import urllib3
    from kubernetes.client import ApiClient

JSON = "application/json"
MERGE = "application/merge-patch+json"
_PROBE_S = 2.0
_SHORT_S = 1.0
"""So much patience is had within the call."""
_SAID_CHARS = 500
_TOO_MANY = 429
_BROKEN = 500


class ApiRefused(WorkspaceUnavailable):
    """The API server refused the request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"Kubernetes answered {status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.said = message


class AskedForPatience(WorkspaceUnavailable):
    """The API server is busy: no failure, but all calls of the process keep quiet for a while."""

    def __init__(self, quiet_s: float) -> None:
        super().__init__(
            "The Kubernetes API is busy and asked for patience.",
            retry_after_s=max(1, round(quiet_s)),
        )
        self.quiet_s = quiet_s


class NodeSilent(WorkspaceUnavailable):
    """The API server took what it was to pass on to a node, and nothing came back in time: that
    tells nothing of the API server."""


class Api:
    """One for all threads of a process."""

    def __init__(
        self,
        client: "Callable[[], ApiClient]",
        *,
        timeout_s: float = 5.0,
        breaker_failures: int = 5,
        breaker_s: float = 10.0,
    ) -> None:
        self._make_client = client
        self._client: ApiClient | None = None
        self._lock = threading.Lock()
        self._timeout_s = timeout_s
        self._breaker = Breaker(
            WorkspaceUnavailable, _left_alone, failures=breaker_failures, pause_s=breaker_s
        )
        self._quiet_until = 0.0
        metrics.BREAKER_OPEN.watch(
            lambda: [(("kubernetes",), float(self._breaker.refuses))], "kubernetes"
        )

    def get(self, path: str, **query: str) -> dict[str, Any]:
        return self._json("GET", path, query=query)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._json("POST", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A merge patch (RFC 7386). With `metadata.resourceVersion` in it, only of that version."""
        return self._json("PATCH", path, body=body, content_type=MERGE)

    def delete(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._json("DELETE", path, body=body)

    def ping(self, timeout_s: float) -> None:
        """Raises WorkspaceUnavailable unless the API server answers, whatever it says."""
        with self.guarded():
            self._request("GET", "/version", timeout_s=timeout_s).drain_conn()

    @property
    def breaker(self) -> str:
        """How its circuit breaker stands: closed, open or half-open."""
        return self._breaker.state

    @contextmanager
    def watch(
        self, path: str, query: Mapping[str, str], silence_s: float
    ) -> "Iterator[urllib3.BaseHTTPResponse]":
        """A stream of lines of JSON; an error after `silence_s` without a byte. The response's
        `shutdown` ends it from another thread."""
        with self.guarded():
            response = self._request("GET", path, query=query, read_s=silence_s)
        try:
            yield response
        finally:
            response.close()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Count what happens inside for the circuit breaker; refused at once where it is open."""
        if self._breaker.state != "closed":
            self._probe()
        self._keep_quiet()
        try:
            yield
        except ApiRefused:
            self._breaker.note(failed=False)
            raise
        except AskedForPatience as exc:
            self._quiet_until = time.monotonic() + exc.quiet_s
            raise
        except NodeSilent:
            raise
        except WorkspaceUnavailable:
            self._breaker.note(failed=True)
            raise
        self._breaker.note(failed=False)

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.rest_client.close()

    def _probe(self) -> None:
        """One at a time, and not before its time: the breaker sees to both."""

        def version() -> AskedForPatience | None:
            try:
                self._request("GET", "/version", timeout_s=_PROBE_S).drain_conn()
            except AskedForPatience as exc:
                return exc
            except ApiRefused:
                return None  # it answers
            return None

        if asked := self._breaker.call(version):
            self._quiet_until = time.monotonic() + asked.quiet_s
            raise asked

    def _keep_quiet(self) -> None:
        quiet_s = self._quiet_until - time.monotonic()
        if quiet_s > _SHORT_S:
            raise AskedForPatience(quiet_s)
        if quiet_s > 0:
            time.sleep(quiet_s)

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        import urllib3

        with self.guarded():
            response = self._request(
                method, path, query=query, body=body, content_type=content_type
            )
            try:
                answer = json.loads(response.data)
            except (urllib3.exceptions.HTTPError, ValueError, OSError) as exc:
                raise WorkspaceUnavailable(f"The Kubernetes API broke off: {exc}") from exc
            finally:
                response.release_conn()
        return answer if isinstance(answer, dict) else {}

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
        timeout_s: float | None = None,
        read_s: float | None = None,
    ) -> "urllib3.BaseHTTPResponse":
        """Raises ApiRefused for 4xx, WorkspaceUnavailable for what may pass."""
        from urllib.parse import urlencode

        import urllib3

        limit_s = timeout_s or self._timeout_s
        client = self._connected()
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": "rdev"}
        headers |= authorization(client, method, path)
        url = f"{client.configuration.host}{path}"
        said: dict[str, tracing.Value] = {"http.request.method": method, "url.full": url}
        with tracing.inner(method, said) as span:
            try:
                response = client.rest_client.pool_manager.request(
                    method,
                    f"{url}?{urlencode(query)}" if query else url,
                    headers=headers,
                    body=json.dumps(body) if body is not None else None,
                    timeout=urllib3.Timeout(connect=limit_s, read=read_s or limit_s),
                    preload_content=False,
                    retries=False,
                )
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
                # Its words name the address, never the token.
                raise WorkspaceUnavailable(f"The Kubernetes API does not answer: {exc}") from exc
            span.set("http.response.status_code", response.status)
            if response.status >= 400:  # noqa: PLR2004 - HTTP's own line
                raise self._refusal(response)
            return response

    def _refusal(self, response: "urllib3.BaseHTTPResponse") -> WorkspaceUnavailable:
        import urllib3

        try:
            said = response.read(65536, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError):
            said = b""
        finally:
            response.close()
        return refusal(response.status, response.headers.get("Retry-After"), said)

    def _connected(self) -> "ApiClient":
        with self._lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client


def _left_alone(pause_s: int) -> WorkspaceUnavailable:
    return WorkspaceUnavailable(
        "The Kubernetes API does not answer; it is left alone for a while.", retry_after_s=pause_s
    )


def refusal(
    status: int, retry_after: str | None, said: bytes, *, of_another: bool = False
) -> WorkspaceUnavailable:
    """What an answer that is no success means. `of_another`: the API server may only pass on what
    a node said, so a Status of its kind tells that the API server itself is well."""
    retry_after_s = _seconds(retry_after)
    answer = _status(said)
    message = str(answer.get("message") or "no reason given")[:_SAID_CHARS]
    if status == _TOO_MANY or (retry_after_s and status >= _BROKEN):
        return AskedForPatience(retry_after_s or 1)
    if status >= _BROKEN and not (of_another and answer.get("kind") == "Status"):
        return WorkspaceUnavailable(f"The Kubernetes API failed: {message}")
    return ApiRefused(status, str(answer.get("reason") or ""), message)


def _status(said: bytes) -> dict[str, Any]:
    """A Status object; the kubelet's answers, and those of what lies between, are plain text."""
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        return answer
    return {"message": " ".join(said.decode(errors="replace").split())}


def _seconds(header: str | None) -> float | None:
    """Kubernetes sends whole seconds."""
    return min(float(header), 60.0) if header and re.fullmatch("[0-9]+", header) else None
