"""Which word stands for what went wrong, and whose fault it is."""

import errno
import ssl
from http.client import HTTPException

from rdev.adapters.webhooks.connection import HungUp
from rdev.domain.addresses import Address

_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
_IPV4 = 4


class Failed(Exception):
    """There is no answer: `error` is the word of attempts.Outcome for why."""

    def __init__(self, error: str, message: str, address: Address | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.address = address


def while_connecting(exc: OSError, address: Address) -> Failed:
    error, message = _connecting(exc, address)
    return Failed(error, message, address)


def _connecting(exc: OSError, address: Address) -> tuple[str, str]:
    match exc:
        case TimeoutError():
            return "connect_timeout", "The receiver took no connection in time."
        case ConnectionRefusedError():
            return "connection_refused", "The receiver refused the connection."
        case ConnectionError() | ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return "hung_up", "The receiver hung up while connecting."
        case ssl.SSLError():
            return _tls(exc)
    # Without any IPv4 route we are the ones cut off. Without IPv6 many are, and for good: of a
    # receiver that has nothing else it must be said.
    if exc.errno in _RESOURCES or (exc.errno == errno.ENETUNREACH and address.version == _IPV4):
        return "ours", f"No connection can be made from here: {exc.strerror}."
    return "connection_refused", f"There is no way to the receiver: {exc.strerror}."


def _tls(exc: ssl.SSLError) -> tuple[str, str]:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return "tls", f"The receiver's certificate is not accepted: {exc.verify_message}."
    return "tls", f"TLS with the receiver failed: {exc.reason or exc}."


def while_exchanging(exc: Exception, address: Address) -> Failed:
    error, message = _exchanging(exc)
    return Failed(error, message, address)


def _exchanging(exc: Exception) -> tuple[str, str]:
    match exc:
        case TimeoutError():
            return "timeout", "The receiver did not answer in time."
        case HungUp():
            return "hung_up", str(exc)
        case HTTPException():
            return "bad_response", "What the receiver answered is not HTTP."
        case ssl.SSLError():
            return _tls(exc)
    return "hung_up", f"The connection broke: {exc}."
