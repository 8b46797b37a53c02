"""The headers that operations take and answers carry."""

from rdev.http.operations.operation import Header

REQUEST_ID = Header("X-Request-ID", "This request's id: yours, or a new one.", always=True)
ASKED_REQUEST_ID = Header(
    "X-Request-ID", "Your own id for this request. One that is not presentable is ignored."
)

_COUNT = {"type": "integer", "minimum": 0}
RATE_LIMIT = (
    Header("X-RateLimit-Limit", "Requests that the key has in any second.", _COUNT),
    Header("X-RateLimit-Remaining", "How many of them are left.", _COUNT),
    Header("X-RateLimit-Reset", "When the next one is free, in seconds since 1970.", _COUNT),
    Header("RateLimit", "The same as the IETF draft has it."),
    Header("RateLimit-Policy", "The limit as the IETF draft has it."),
)
RETRY_AFTER = Header("Retry-After", "Seconds to wait before trying again.", _COUNT, always=True)
CHALLENGE = Header("WWW-Authenticate", "How to authenticate.", always=True)

LOCATION = Header("Location", "Where the new thing is.", always=True)
PREFER = Header("Prefer", "`wait=N`: wait up to N seconds (50 at most) for the command's end.")
APPLIED = Header("Preference-Applied", "How long the answer would have waited.")
IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    "For 24 hours the same key, project and value give the same command.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
)
LAST_EVENT_ID = Header(
    "Last-Event-ID",
    "Go on after this event; `0`: from the beginning.",
    {"type": "string", "pattern": r"^(0|[0-9]{1,18}-[0-9]{1,18})$"},
)
RANGE = Header(
    "Range",
    "One range of bytes, such as `bytes=0-1023`. What makes no sense is ignored.",
)
CONTENT_RANGE = Header("Content-Range", "Which bytes these are, of how many.", always=True)
ACCEPT_RANGES = Header("Accept-Ranges", "`bytes`.")
