"""The headers that tell a caller how much of its limit is left: the seed's X-RateLimit-*, and the
IETF's RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers) beside them."""

import math
import time

from rdev.domain.rate_limits import Window

WINDOW_S = 1


def headers(window: Window) -> tuple[tuple[str, str], ...]:
    free_in_s = math.ceil(window.reset_ms / 1000)
    reset_at = math.ceil(time.time() + window.reset_ms / 1000)
    return (
        ("X-RateLimit-Limit", str(window.limit)),
        ("X-RateLimit-Remaining", str(window.remaining)),
        ("X-RateLimit-Reset", str(reset_at)),
        ("RateLimit-Policy", f'"default";q={window.limit};w={WINDOW_S}'),
        ("RateLimit", f'"default";r={window.remaining};t={free_in_s}'),
    )
