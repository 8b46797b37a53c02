"""Redis, by redis-py: imported here without OpenTelemetry.

redis-py has metrics of its own and loads OpenTelemetry's SDK for them wherever that is installed,
whether they are on or not: a seventh of a function's start. rdev does not use them. So redis-py is
told, while it is imported, that there is none, as it is prepared for; `None` in `sys.modules` is
Python's own way to say so. What is loaded already stays, and what comes later is not kept from it.
"""

import sys

_OPTIONAL = ("opentelemetry.metrics", "opentelemetry.sdk.metrics")


def _import_redis() -> None:
    absent = [name for name in _OPTIONAL if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type] # None is allowed there
    try:
        import redis  # noqa: F401
    finally:
        for name in absent:
            del sys.modules[name]


_import_redis()
