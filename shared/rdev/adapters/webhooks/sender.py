"""Sends webhooks: one HTTP request an attempt, whatever the receiver does.

From any number of threads or greenlets at once. No redirect is followed, no proxy of the
environment is used, no answer is unpacked.
"""

import logging
import ssl
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPException

from rdev.adapters.webhooks.connection import Answer, Connection, HungUp, connect
from rdev.adapters.webhooks.failures import Failed, while_connecting, while_exchanging
from rdev.adapters.webhooks.guard import Blocked, Guard
from rdev.adapters.webhooks.kept import Kept
from rdev.adapters.webhooks.names import Unresolved
from rdev.adapters.webhooks.request import kept_headers, rendered
from rdev.adapters.webhooks.target import NotAllowed, Target
from rdev.adapters.webhooks.wire import Deadline
from rdev.domain.addresses import Address
from rdev.domain.attempts import Outcome, Outgoing
from rdev.domain.retry_after import seconds_asked_for

log = logging.getLogger(__name__)

_ADDRESSES_TRIED = 4


class WebhookSender:
    """`timeout_s` is for all of an attempt, `connect_timeout_s` for looking the name up and then
    again for connecting, TLS included. `ca_file`: PEM, instead of the machine's authorities."""

    def __init__(
        self,
        guard: Guard,
        *,
        timeout_s: float = 15.0,
        connect_timeout_s: float = 5.0,
        user_agent: str = "rdev",
        ca_file: str | None = None,
    ) -> None:
        self._guard = guard
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        # A lookup that fails is followed by another, of half the time: see names.
        self._lookup_s = min(connect_timeout_s, timeout_s * 2 / 3)
        self._user_agent = user_agent
        self._ca_file = ca_file
        self._kept = Kept()
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def refusal(self, url: str) -> str | None:
        """Why no endpoint may have this URL, as far as that shows without looking its name up."""
        return self._guard.refusal(url)

    def send(self, outgoing: Outgoing) -> Outcome:
        """Make one attempt. Never raises, and is over when `timeout_s` is.

        A connection that was kept from an earlier attempt and ends without a word is replaced by
        a new one, once: the receiver closed it, most likely, as it was being used. Should it have
        read the request after all, it gets it twice, under one webhook-id.
        """
        began = time.monotonic()
        try:
            answer, address = self._attempt(outgoing, Deadline(self._timeout_s))
        except Failed as exc:
            return _outcome(began, exc)
        except Exception as exc:  # a bug of ours must not look like the receiver's
            log.exception("a webhook could not be sent")
            return _outcome(began, Failed("ours", f"{type(exc).__name__} in rdev's sender."))
        headers = kept_headers(answer.headers)
        return Outcome(
            status=answer.status,
            error=None,
            message=f"Answered {answer.status}." if answer.whole else _cut(answer),
            address=str(address),
            duration_ms=_since(began),
            headers=headers,
            body=answer.body,
            retry_after_s=seconds_asked_for(answer.headers.get("retry-after"), datetime.now(UTC)),
        )

    def close(self) -> None:
        """Close the connections that are kept for later. Sending goes on to work."""
        self._kept.close()

    def _attempt(self, outgoing: Outgoing, deadline: Deadline) -> tuple[Answer, Address]:
        try:
            target = self._guard.target(outgoing.url)
            request = rendered(outgoing, target, self._user_agent)
            addresses = self._guard.pinned(target, self._lookup_s)
        except NotAllowed as exc:
            raise Failed("not_allowed_url", str(exc)) from exc
        except Blocked as exc:
            raise Failed("blocked_address", str(exc)) from exc
        except Unresolved as exc:
            raise Failed("ours" if exc.ours else "dns", str(exc)) from exc
        for address in addresses:
            kept = self._kept.take(target, address)
            if kept:
                try:
                    return self._exchange(target, kept, request, deadline), address
                except HungUp as exc:
                    if not exc.silent:
                        raise while_exchanging(exc, address) from exc
                    break
        fresh = self._connect(target, addresses, deadline)
        try:
            return self._exchange(target, fresh, request, deadline), fresh.address
        except HungUp as exc:
            raise while_exchanging(exc, fresh.address) from exc

    def _exchange(
        self, target: Target, connection: Connection, request: bytes, deadline: Deadline
    ) -> Answer:
        try:
            return connection.exchange(request, deadline)
        except (OSError, HTTPException) as exc:
            raise while_exchanging(exc, connection.address) from exc
        finally:
            if connection.reusable:
                self._kept.put(target, connection)
            else:
                connection.close()

    def _connect(
        self, target: Target, addresses: Sequence[Address], deadline: Deadline
    ) -> Connection:
        """To the first address that takes the connection; each has its share of the time."""
        tls = self._context() if target.scheme == "https" else None
        connecting = Deadline(self._connect_timeout_s)
        addresses = addresses[:_ADDRESSES_TRIED]
        for more, address in zip(range(len(addresses))[::-1], addresses, strict=True):
            try:
                share = min(connecting.left() / (more + 1), deadline.left())
                return connect(target, address, tls, Deadline(share))
            except OSError as exc:
                failed = while_connecting(exc, address)
        raise failed

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if not self._tls:
                try:
                    self._tls = _context(self._ca_file)
                except OSError as exc:
                    raise Failed("ours", f"No certificates to check receivers by: {exc}") from exc
            return self._tls


def _context(ca_file: str | None) -> ssl.SSLContext:
    paths = ssl.get_default_verify_paths()
    if not (ca_file or paths.cafile or paths.capath):
        raise OSError("install ca-certificates, or name a file with SSL_CERT_FILE")
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _cut(answer: Answer) -> str:
    return f"Answered {answer.status}; only the beginning of the body was taken."


def _outcome(began: float, failed: Failed) -> Outcome:
    return Outcome(
        status=None,
        error=failed.error,
        message=str(failed),
        address=str(failed.address) if failed.address else None,
        duration_ms=_since(began),
        headers={},
        body=b"",
        retry_after_s=None,
        ours=failed.error == "ours",
    )


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
