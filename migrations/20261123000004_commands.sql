-- migrate:up
create table commands (
    id                   text primary key,      -- sortable by time, so it orders the queue as well
    project_id           text not null,         -- no foreign key: the record outlives the project
    key_id               text not null,
    kind                 text not null check (kind in ('shell', 'git', 'claude')),
    status               text not null default 'queued' check (status in
        ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'timed_out', 'lost')),
    priority             text not null check (priority in ('high', 'normal', 'low')),
    spec                 jsonb not null,
    env                  jsonb not null default '{}',  -- emptied at the end: it may hold secrets
    stdin                bytea not null default '',    -- emptied at the end
    labels               jsonb not null default '{}',
    timeout_s            double precision not null,
    queue_timeout_s      double precision,
    queued_at            timestamptz not null default clock_timestamp(),
    started_at           timestamptz,
    finished_at          timestamptz,
    exit_code            integer,
    signal               text,
    reason               text,
    stdout_bytes         bigint not null default 0,
    stderr_bytes         bigint not null default 0,
    stdout_sha256        text,
    stderr_sha256        text,
    truncated            boolean not null default false,
    usage                jsonb not null default '{}',
    cancel_requested_at  timestamptz,
    check (status in ('queued', 'running') or finished_at is not null)
);

create index commands_by_project on commands (project_id, id desc);

-- migrate:down
drop table commands;
