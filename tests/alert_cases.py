"""For each alert: series in which it fires after forty minutes, in promtool's notation, a value a
minute. Each is also used to show that none of the others fires without its own cause. And what
happens in a deployment that is well, in which none may fire at any time."""

ERRORS = {
    'rdev_http_requests_total{route="/keys",status="200",process="functions-0"}': "0+980x400",
    'rdev_http_requests_total{route="/keys",status="500",process="functions-0"}': "0+20x400",
}
QUIET = {
    'rdev_http_requests_total{route="/keys",status="200",process="functions-0"}': "0+1000x400",
    'rdev_http_requests_total{route="/ready",status="503",process="functions-0"}': "0+1000x400",
    'rdev_http_request_duration_seconds_bucket{route="/keys",le="0.5"}': "0+1000x400",
    'rdev_http_request_duration_seconds_count{route="/keys"}': "0+1000x400",
    'rdev_queue_commands{priority="normal",status="waiting",process="functions-0"}': "0x400",
    'rdev_queue_oldest_age_seconds{priority="normal",process="functions-0"}': "2x400",
    'rdev_queue_claimable{priority="normal",process="functions-0"}': "0x400",
    'rdev_queue_claims_total{priority="normal",process="runner-0"}': "0+60x400",
    'rdev_runner_slots{process="runner-0"}': "16x400",
    'rdev_runner_commands{process="runner-0"}': "3x400",
    'rdev_sweep_last_done_timestamp_seconds{process="functions-0"}': "0+60x400",
    'rdev_commands_finished_total{kind="shell",status="succeeded",reason="none"}': "0+60x400",
    'rdev_commands_finished_total{kind="shell",status="failed",reason="exit_code"}': "0+60x400",
    'rdev_commands_finished_total{kind="shell",status="lost",reason="killed_outside"}': "0x400",
    'rdev_stream_gaps_total{of="command",reason="lost",process="functions-0"}': "0x400",
    'rdev_stream_gaps_total{of="command",reason="expired",process="functions-0"}': "0+5x400",
    'rdev_webhook_oldest_due_age_seconds{process="functions-0"}': "1x400",
    'rdev_webhook_attempts_total{outcome="ours",process="runner-0"}': "0x400",
    'rdev_webhook_attempts_total{outcome="failed",process="runner-0"}': "0+9x400",
    'rdev_webhook_deliveries_total{state="succeeded",process="runner-0"}': "0+9x400",
    'rdev_webhook_deliveries_total{state="exhausted",process="runner-0"}': "0x400",
    'rdev_postgres_unavailable_total{process="functions-0"}': "0x400",
    'rdev_postgres_pool_waiting{process="functions-0"}': "0 3 0 0 2 0x400",
    'rdev_limiter_fallbacks_total{process="functions-0"}': "0x400",
    'rdev_breaker_open{breaker="gate",process="functions-0"}': "0x400",
    'rdev_archive_backlog{process="functions-0"}': "3x400",
    'rdev_process_up{process="runner-0"}': "1x400",
}
CASES: dict[str, dict[str, str]] = {
    "RdevErrorsBurnFast": ERRORS,
    "RdevErrorsBurnSlowly": {
        'rdev_http_requests_total{route="/keys",status="500",process="functions-0"}': "0+8x400",
    },
    "RdevSlow": {
        'rdev_http_request_duration_seconds_bucket{route="/keys",le="0.5"}': "0+900x400",
    },
    "RdevProcessHangs": {'rdev_process_up{process="runner-0"}': "0x400"},
    # The runner is gone, and what it told with it.
    "RdevQueueStuck": {
        'rdev_queue_claimable{priority="normal",process="functions-0"}': "1x400",
        'rdev_queue_claims_total{priority="normal",process="runner-0"}': "0x20 _x380",
        'rdev_runner_slots{process="runner-0"}': "16x20 _x380",
        'rdev_runner_commands{process="runner-0"}': "16x20 _x380",
    },
    "RdevStandingUnknown": {
        'rdev_queue_commands{priority="normal",status="waiting",process="functions-0"}': "_x400",
    },
    "RdevRunnersFull": {
        'rdev_runner_commands{process="runner-0"}': "16x400",
        'rdev_queue_commands{priority="normal",status="waiting",process="functions-0"}': "7x400",
    },
    "RdevSweepOverdue": {
        'rdev_sweep_last_done_timestamp_seconds{process="functions-0"}': "0x400",
        'rdev_queue_commands{priority="low",status="running",process="functions-0"}': "1x400",
    },
    "RdevCommandsFailedByRdev": {
        'rdev_commands_finished_total{kind="shell",status="failed",reason="infrastructure"}': (
            "0+3x400"
        ),
    },
    "RdevCommandsLost": {
        'rdev_commands_finished_total{kind="shell",status="lost",reason="killed_outside"}': (
            "0x34 1x360"
        ),
    },
    "RdevLeasesTakenOver": {'rdev_leases_taken_over_total{process="runner-0"}': "0+1x400"},
    "RdevWorkspacesUnavailable": {
        'rdev_workspace_failures_total{why="unavailable",process="runner-0"}': "0+10x400",
    },
    "RdevOutputMissing": {
        'rdev_stream_gaps_total{of="command",reason="lost",process="functions-0"}': "0x34 1x360",
    },
    "RdevWebhooksLate": {
        'rdev_webhook_oldest_due_age_seconds{process="functions-0"}': "301x400",
    },
    "RdevWebhooksNotSent": {
        'rdev_webhook_attempts_total{outcome="ours",process="runner-0"}': "0+1x400",
    },
    "RdevWebhooksExhausted": {
        'rdev_webhook_deliveries_total{state="exhausted",process="runner-0"}': "0+1x400",
    },
    "RdevPostgresUnavailable": {
        'rdev_postgres_unavailable_total{process="functions-0"}': "0+1x400",
    },
    "RdevPostgresPoolExhausted": {
        'rdev_postgres_pool_waiting{process="functions-0"}': "5x400",
    },
    "RdevRedisUnavailable": {'rdev_limiter_fallbacks_total{process="functions-0"}': "0+1x400"},
    "RdevBreakerOpen": {
        'rdev_breaker_open{breaker="gate",process="functions-0"}': "0 1 0 0 1 0x2 1 0 1x400",
    },
    "RdevArchiveBehind": {'rdev_archive_backlog{process="functions-0"}': "101x400"},
    "RdevArchiveDamaged": {
        'rdev_archive_operation_seconds_count{operation="load",result="damaged"}': "1x400",
    },
}
ALSO = {"RdevErrorsBurnFast": {"RdevErrorsBurnSlowly"}}
"""What else is rightly said then."""

WELL: dict[str, dict[str, str]] = {
    "a restart of Postgres": {
        'rdev_postgres_unavailable_total{process="functions-0"}': "0x20 40 80x400",
    },
    "a restart of Redis": {
        'rdev_limiter_fallbacks_total{process="functions-0"}': "0x20 40 80x400",
        'rdev_breaker_open{breaker="gate",process="functions-0"}': "0x20 1 1 0x400",
    },
    "an API server that is replaced": {
        'rdev_workspace_failures_total{why="unavailable",process="runner-0"}': "0x20 90 180x400",
        'rdev_breaker_open{breaker="kubernetes",process="runner-0"}': "0x20 1 1 0x400",
    },
    "a name server that is away for a minute": {
        'rdev_webhook_attempts_total{outcome="ours",process="runner-0"}': "0x20 9 12x400",
    },
    "a process that is too busy for three scrapes": {
        'rdev_process_up{process="runner-0"}': "1x20 0x2 1x400",
    },
    "a process that is stopped while it hangs": {
        'rdev_process_up{process="runner-0"}': "1x20 0 stale",
    },
    "a runner that is scaled to zero, with nothing to do": {
        'rdev_runner_slots{process="runner-0"}': "16x10 stale",
        'rdev_runner_commands{process="runner-0"}': "0x10 stale",
        'rdev_queue_claims_total{priority="normal",process="runner-0"}': "5x10 stale",
        'rdev_sweep_last_done_timestamp_seconds{process="functions-0"}': "0+60x10 600x400",
    },
    "a hundred long commands of a key that may run five": {
        'rdev_queue_commands{priority="normal",status="waiting",process="functions-0"}': "95x400",
        'rdev_queue_commands{priority="normal",status="running",process="functions-0"}': "5x400",
        'rdev_queue_oldest_age_seconds{priority="normal",process="functions-0"}': "9+60x400",
        'rdev_queue_claims_total{priority="normal",process="runner-0"}': "5x400",
    },
    "so much to do that always something waits to be taken": {
        'rdev_queue_commands{priority="normal",status="waiting",process="functions-0"}': "9x400",
        'rdev_queue_claimable{priority="normal",process="functions-0"}': "9x400",
    },
    "one error in a quiet night": {
        'rdev_http_requests_total{route="/keys",status="200",process="functions-0"}': "0+1x400",
        'rdev_http_requests_total{route="/keys",status="500",process="functions-0"}': "0x20 1x400",
        'rdev_http_request_duration_seconds_bucket{route="/keys",le="0.5"}': "0+1x400",
        'rdev_http_request_duration_seconds_count{route="/keys"}': "0+1x400",
    },
    "one command in a quiet night that finds no workspace": {
        'rdev_commands_finished_total{kind="shell",status="succeeded",reason="none"}': "0x9 1x400",
        'rdev_commands_finished_total{kind="shell",status="failed",reason="exit_code"}': "0x400",
        'rdev_commands_finished_total{kind="shell",status="failed",reason="infrastructure"}': (
            "0x20 1x400"
        ),
    },
    "functions that work within the request that woke them, and a check of the audit log": {
        'rdev_http_request_duration_seconds_bucket{route="/",method="POST",le="0.5"}': "0x400",
        'rdev_http_request_duration_seconds_count{route="/",method="POST"}': "0+500x400",
        'rdev_http_request_duration_seconds_bucket{route="/audit/verify",le="0.5"}': "0x400",
        'rdev_http_request_duration_seconds_count{route="/audit/verify"}': "0+500x400",
    },
    "three slow requests in a quiet night": {
        'rdev_http_requests_total{route="/keys",status="200",process="functions-0"}': "0x20 3x400",
        'rdev_http_request_duration_seconds_bucket{route="/keys",le="0.5"}': "0x400",
        'rdev_http_request_duration_seconds_count{route="/keys"}': "0x20 1 2 3x10 4 5x400",
    },
    "readers of projects who were away for long, or ask for what never was": {
        'rdev_stream_gaps_total{of="project",reason="lost",process="functions-0"}': "0+1x400",
        'rdev_stream_gaps_total{of="project",reason="trimmed",process="functions-0"}': "0+1x400",
    },
    "a database that is new": {
        'rdev_sweep_last_done_timestamp_seconds{process="functions-0"}': "0 0 120+60x400",
        'rdev_queue_claimable{priority="normal",process="functions-0"}': "1x2 0x400",
    },
}
OVER = {
    "RdevArchiveDamaged": {
        'rdev_archive_operation_seconds_count{operation="load",result="damaged"}': "_x10 1x400",
    },
}
"""Series in which one fires after twenty minutes, and no more after ninety: it is over."""
