"""Every error that rdev raises on purpose. A code each; the HTTP status lives in `rdev.http`.

RdevError
├── InvalidRequest          BAD_REQUEST
├── Refused
│   ├── Unauthorized        UNAUTHORIZED
│   └── Forbidden           FORBIDDEN
├── NotFound                NOT_FOUND
│   └── Hidden
├── MethodNotAllowed        METHOD_NOT_ALLOWED
├── Conflict                CONFLICT
├── Gone                    GONE
├── PayloadTooLarge         PAYLOAD_TOO_LARGE
├── UnsupportedMediaType    UNSUPPORTED_MEDIA_TYPE
├── TooManyRequests         TOO_MANY_REQUESTS
├── Unavailable             SERVICE_UNAVAILABLE
│   └── StoreUnavailable
├── SegmentDamaged          INTERNAL_ERROR (never reaches a caller: the archive's)
└── WorkspaceError          INTERNAL_ERROR
    ├── WorkspaceUnavailable  SERVICE_UNAVAILABLE
    │   ├── WorkspaceNotReady
    │   └── WorkspaceUnfit
    └── CommandRefused      (never reaches a caller: the runner's)
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detail:
    """One field that was wrong, as `error.details` shows it."""

    field: str
    message: str


class RdevError(Exception):
    """Something went wrong inside rdev. Try again; if it lasts, look at the server's log."""

    code = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str | None = None,
        *,
        details: tuple[Detail, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        self.message = message or (self.__doc__ or "").strip()
        self.details = details
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


class InvalidRequest(RdevError):
    """The request is not valid; `details` names the fields to mend."""

    code = "BAD_REQUEST"

    @classmethod
    def field(cls, field: str, message: str) -> "InvalidRequest":
        return cls(f"{field}: {message}", details=(Detail(field, message),))


class Refused(RdevError):
    """The API key does not open this.

    `key_id` is whose key it was, where that is known: the audit log's to tell, no answer's.
    """

    def __init__(self, message: str | None = None, *, key_id: str | None = None) -> None:
        super().__init__(message)
        self.key_id = key_id


class Unauthorized(Refused):
    """Missing or invalid API key. Send one as `X-API-Key` or `Authorization: Bearer`."""

    code = "UNAUTHORIZED"


class Forbidden(Refused):
    """The API key lacks the permission for this."""

    code = "FORBIDDEN"


class NotFound(RdevError):
    """There is nothing here."""

    code = "NOT_FOUND"


class Hidden(NotFound):
    """There is nothing here."""  # that this key may see: said in the same words as NotFound


class MethodNotAllowed(RdevError):
    """This path does not take this method."""

    code = "METHOD_NOT_ALLOWED"

    def __init__(self, message: str | None = None, *, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allowed = allowed


class Conflict(RdevError):
    """This contradicts what is already there."""

    code = "CONFLICT"


class Gone(RdevError):
    """This existed and can no longer be had."""

    code = "GONE"


class PayloadTooLarge(RdevError):
    """The request body is larger than this server takes."""

    code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(RdevError):
    """Send the body as `Content-Type: application/json`."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class TooManyRequests(RdevError):
    """Rate limit exceeded. Wait for the seconds in `Retry-After`."""

    code = "TOO_MANY_REQUESTS"


class Unavailable(RdevError):
    """A part that this request needs is not available. Try again after `Retry-After`."""

    code = "SERVICE_UNAVAILABLE"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 2) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class StoreUnavailable(Unavailable):
    """A store (Postgres or Redis) does not answer. Try again after `Retry-After`."""


class SegmentDamaged(RdevError):
    """An object of the archive is not what was stored there; it counts as missing."""


class WorkspaceError(RdevError):
    """The workspace could not do what the runner asked of it."""


class WorkspaceUnavailable(WorkspaceError):
    """The workspace cannot be asked at the moment; what runs in it is unknown, not lost."""

    code = "SERVICE_UNAVAILABLE"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 5) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class WorkspaceNotReady(WorkspaceUnavailable):
    """The workspace is stopped, or on its way up. A command waits for it in the queue."""


class WorkspaceUnfit(WorkspaceUnavailable):
    """No command can run in the workspace as it is now, and none runs there.

    `reason` is the machine-readable word for a command's record, such as `no_shell`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CommandRefused(WorkspaceError):
    """The workspace will not run this command as it stands; nothing was started.

    `reason` is the machine-readable word for the command's record, such as `cwd_not_found`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
