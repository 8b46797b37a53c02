"""The catalogue: every instrument of rdev, once. docs/metrics.md is held to it.

Labels have few values: routes are templates, and no id, name or address of anybody is ever one.
"""

from rdev.ports.measuring import Counter, Gauge, Histogram, Level

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# What alerts look out for is told from the beginning as 0: else the first of it is no increase.
_ALERTED_ENDS = (
    ("lost", "killed_outside"),
    ("lost", "workspace_lost"),
    ("failed", "infrastructure"),
    ("failed", "workspace_not_ready"),
)
_PATIENT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0)

BUILD = Gauge("rdev.build.info", "", "1; what runs here.", ("version", "python"))
PROCESS_UP = Gauge(
    "rdev.process.up",
    "",
    "Of the processes that answer together: 1 where it answered, 0 where it runs and did not.",
    ("process",),
)

# --- http -------------------------------------------------------------------------------------

HTTP_REQUESTS = Counter(
    "rdev.http.requests",
    "{request}",
    "Requests answered.",
    ("function", "route", "method", "status"),
)
HTTP_DURATION = Histogram(
    "rdev.http.request.duration",
    "s",
    "Until the answer began to leave. Left out are event streams, and requests that were asked "
    "to wait for a command's end.",
    ("function", "route", "method"),
    bounds=_QUICK,
)
LIMITER_DECISIONS = Counter(
    "rdev.limiter.decisions",
    "{request}",
    "Requests of keys, by whether their rate limit let them in: allowed or refused.",
    ("decision",),
)
LIMITER_FALLBACKS = Counter(
    "rdev.limiter.fallbacks",
    "{request}",
    "Requests whose rate limit was counted in this process alone, since Redis did not answer.",
)
CACHE_LOOKUPS = Counter(
    "rdev.cache.lookups",
    "{lookup}",
    "Looks into what a process keeps (keys; parts of the archive), by result: hit or miss.",
    ("cache", "result"),
)

# --- queue and commands -------------------------------------------------------------------------

QUEUE_COMMANDS = Gauge(
    "rdev.queue.commands",
    "{command}",
    "Commands without an end, by status: waiting or running. From the database.",
    ("priority", "status"),
)
QUEUE_OLDEST = Gauge(
    "rdev.queue.oldest.age",
    "s",
    "For how long the oldest waiting command has waited; 0: none waits. From the database.",
    ("priority",),
)
QUEUE_CLAIMABLE = Gauge(
    "rdev.queue.claimable",
    "{command}",
    "Of those that wait, the ones that no limit of their key or project holds, and no workspace "
    "that is on its way: a runner could take one of them now. From the database.",
    ("priority",),
)
QUEUE_CLAIMS = Counter(
    "rdev.queue.claims",
    "{claim}",
    "Commands taken from the queue by a runner.",
    ("priority",),
    known=(("high",), ("normal",), ("low",)),
)
QUEUE_WAIT = Histogram(
    "rdev.queue.wait",
    "s",
    "From queued to claimed, by the runner's clock.",
    ("priority",),
    bounds=_PATIENT,
)
LEASES_TAKEN_OVER = Counter(
    "rdev.leases.taken_over",
    "{lease}",
    "Commands that a runner took over since their lease had run out. Not those that were handed "
    "over by a runner that ended.",
)
COMMANDS_FINISHED = Counter(
    "rdev.commands.finished",
    "{command}",
    "Commands that ended, by kind, status and the record's reason (none: succeeded).",
    ("kind", "status", "reason"),
    known=tuple((kind, *end) for kind in ("shell", "git", "claude") for end in _ALERTED_ENDS),
)
COMMAND_FIRST_OUTPUT = Histogram(
    "rdev.command.first_output",
    "s",
    "From queued to the first output in the stream, by the runner's clock.",
    ("kind",),
    bounds=_PATIENT,
)
COMMAND_OUTPUT = Counter("rdev.command.output", "By", "Output carried into streams.", ("stream",))
RUNNER_COMMANDS = Gauge(
    "rdev.runner.commands", "{command}", "Commands that this runner sees through now."
)
RUNNER_SLOTS = Gauge("rdev.runner.slots", "{command}", "Commands that it can at once.")
SWEEPS = Counter(
    "rdev.sweeps", "{sweep}", "Steps of sweeps, by result: done or failed.", ("result",)
)
SWEPT_AT = Gauge(
    "rdev.sweep.last_done.timestamp",
    "s",
    "When anybody's sweep was last whole, in Unix time; 0: never. From the database.",
)
WAKEUPS = Counter(
    "rdev.wakeups",
    "{event}",
    "Wake-ups sent to functions, by type and result: sent or failed.",
    ("type", "result"),
)

# --- workspaces ---------------------------------------------------------------------------------

PROJECTS = Gauge(
    "rdev.projects",
    "{project}",
    "Projects, by what their workspace is meant to be: running or stopped. From the database.",
    ("meant",),
)
WORKSPACE_STARTS = Histogram(
    "rdev.workspace.command.start",
    "s",
    "How long a workspace took to be asked to start a command, by result: "
    "started, refused or unavailable.",
    ("result",),
    bounds=_QUICK,
)
WORKSPACE_FAILURES = Counter(
    "rdev.workspace.failures",
    "{failure}",
    "Times that a command's workspace was not to be had: not_ready or unavailable.",
    ("why",),
    known=(("not_ready",), ("unavailable",)),
)

# --- streams ------------------------------------------------------------------------------------

STREAM_SUBSCRIBERS = Level(
    "rdev.stream.subscribers", "{stream}", "Event streams that are open.", ("of",)
)
STREAM_BYTES = Counter(
    "rdev.stream.sent", "By", "Bytes of events handed to event streams.", ("of",)
)
STREAM_SLOW = Counter(
    "rdev.stream.slow_disconnects",
    "{stream}",
    "Event streams ended since their client took nothing within the deadline.",
)
STREAM_GAPS = Counter(
    "rdev.stream.gaps",
    "{gap}",
    "Gaps told to readers, by reason.",
    ("of", "reason"),
    known=tuple((of, why) for of in ("command", "project") for why in ("trimmed", "lost")),
)

# --- webhooks -----------------------------------------------------------------------------------

WEBHOOK_ATTEMPTS = Counter(
    "rdev.webhook.attempts",
    "{attempt}",
    "Attempts to deliver: succeeded, failed, throttled, gone (410) or ours (rdev could not).",
    ("outcome",),
    known=(("succeeded",), ("ours",)),
)
WEBHOOK_DURATION = Histogram(
    "rdev.webhook.attempt.duration", "s", "How long attempts took.", ("outcome",), bounds=_QUICK
)
WEBHOOK_DELIVERIES = Counter(
    "rdev.webhook.deliveries",
    "{delivery}",
    "Deliveries that came to an end: succeeded or exhausted.",
    ("state",),
    known=(("succeeded",), ("exhausted",)),
)
WEBHOOK_BACKLOG = Gauge(
    "rdev.webhook.backlog",
    "{delivery}",
    "Deliveries that are not over: due, later (also those of endpoints that are left alone for a "
    "while), or held (their endpoint is paused or disabled). From the database.",
    ("when",),
)
WEBHOOK_OLDEST = Gauge(
    "rdev.webhook.oldest_due.age",
    "s",
    "For how long the oldest delivery has been due that could be sent; 0: none. From the database.",
)
WEBHOOK_ENDPOINTS = Gauge(
    "rdev.webhook.endpoints",
    "{endpoint}",
    "Endpoints: active, blocked (their circuit breaker is open, or they asked for patience), "
    "paused or disabled. From the database.",
    ("state",),
)

# --- stores -------------------------------------------------------------------------------------

POSTGRES_CONNECTIONS = Gauge(
    "rdev.postgres.pool.connections",
    "{connection}",
    "Connections of this process's pool: used or idle.",
    ("state",),
)
POSTGRES_LIMIT = Gauge("rdev.postgres.pool.limit", "{connection}", "How many it may have.")
POSTGRES_WAITING = Gauge(
    "rdev.postgres.pool.waiting", "{request}", "Who waits for a connection of it now."
)
POSTGRES_UNAVAILABLE = Counter(
    "rdev.postgres.unavailable", "{transaction}", "Transactions that Postgres did not answer."
)
REDIS_CONNECTIONS = Gauge(
    "rdev.redis.pool.connections",
    "{connection}",
    "Connections of this process's pools (calls, blocking, gate): used or idle.",
    ("pool", "state"),
)
BREAKER_OPEN = Gauge(
    "rdev.breaker.open",
    "",
    "1 while a circuit breaker of this process refuses at once: gate (Redis, for keys), archive "
    "or kubernetes.",
    ("breaker",),
)
ARCHIVE_OPERATIONS = Histogram(
    "rdev.archive.operation",
    "s",
    "Calls of the archive, by operation and result: done, damaged or unavailable.",
    ("operation", "result"),
    bounds=_QUICK,
)
ARCHIVE_BYTES = Counter(
    "rdev.archive.transferred",
    "By",
    "Output stored in the archive and loaded from it, before it is compressed.",
    ("operation",),
)
ARCHIVE_BACKLOG = Gauge(
    "rdev.archive.backlog",
    "{command}",
    "Ended commands whose output is not in the archive yet. From the database.",
)
