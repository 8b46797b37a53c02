"""Every error that the client raises on purpose; nothing of httpx's gets past it.

ClientError
├── CannotConnect          nothing was sent: the server cannot be reached
├── Disconnected           the answer broke off or took too long; what was asked may have been done
├── StreamStalled          an event stream made no progress for too long; has an id to go on from
├── NotRdev                something answered that does not speak rdev's API
└── ApiError               the server said no, with its code
    ├── BadRequest         400, 405, 413, 415
    ├── Unauthorized       401
    ├── Forbidden          403
    ├── NotFound           404
    ├── Conflict           409
    ├── Gone               410
    ├── TooManyRequests    429
    └── ServerError        5xx
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detail:
    """One field that was wrong, as the server's `error.details` names it."""

    field: str
    message: str


class ClientError(Exception):
    """Something kept the client from doing what was asked; the message says what."""


class CannotConnect(ClientError):
    """The server cannot be reached. Nothing was sent."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"cannot reach {url} ({why})")
        self.url = url


class Disconnected(ClientError):
    """The connection broke before the answer was there. The request may have been carried out."""


class StreamStalled(ClientError):
    """An event stream made no progress for too long. `last_id` is where to go on."""

    def __init__(self, message: str, last_id: str | None) -> None:
        super().__init__(message)
        self.last_id = last_id


class NotRdev(ClientError):
    """What answered does not speak rdev's API. Look at the server's address."""


class ApiError(ClientError):
    """The server refused. `code` is from docs/api/errors.md; `request_id` finds it in its log."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: tuple[Detail, ...] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class BadRequest(ApiError):
    """The request itself is wrong; `details` names the fields to mend."""


class Unauthorized(ApiError):
    """The API key is missing, wrong, expired or revoked."""


class Forbidden(ApiError):
    """The API key lacks a scope for this."""


class NotFound(ApiError):
    """It does not exist, or this API key may not see it."""


class Conflict(ApiError):
    """It contradicts what is already there."""


class Gone(ApiError):
    """It existed and can no longer be had."""


class TooManyRequests(ApiError):
    """A limit of this key is reached. Wait for `retry_after_s`."""


class ServerError(ApiError):
    """The server failed, or a part that it needs is away."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    429: TooManyRequests,
}


def error_for(status: int) -> type[ApiError]:
    """The class that stands for an HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else BadRequest)  # noqa: PLR2004
