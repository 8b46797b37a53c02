"""The instruments of this process, read at /metrics."""

from prometheus_client import Counter, Histogram

REQUESTS = Counter(
    "rdev_http_requests_total",
    "HTTP requests answered.",
    ["function", "route", "method", "status"],
)
REQUEST_SECONDS = Histogram(
    "rdev_http_request_duration_seconds",
    "Time to answer a request that is no stream.",
    ["function", "route"],
)
LIMITED_ALONE = Counter(
    "rdev_limiter_fallbacks_total",
    "Requests whose rate limit was counted in this process alone, since Redis did not answer.",
)
