-- migrate:up
-- Endpoints: who is told of what. Rows that many senders lock for a moment, to claim for them.
create table webhook_endpoints (
    id               text primary key,
    url              text not null,
    description      text not null default '',
    events           text[] not null,               -- as the caller wrote them: globs
    events_pattern   text not null check ('' ~ events_pattern is not null),  -- one regex of them
    projects         text[] not null default '{*}',
    projects_pattern text not null check ('' ~ projects_pattern is not null),
    headers          jsonb not null default '{}',   -- the endpoint's own; they may be secrets
    max_concurrent   integer not null check (max_concurrent > 0),
    created_at       timestamptz not null default clock_timestamp(),
    created_by       text not null,
    updated_at       timestamptz not null default clock_timestamp(),
    deleted_at       timestamptz,                   -- the sweep removes what is left of it
    paused           boolean not null default false,
    disabled_at      timestamptz,
    disabled_reason  text check (disabled_reason in ('gone', 'failing', 'by_hand')),
    -- How it fares.
    failures         integer not null default 0,    -- attempts that failed, one after the other
    failing_since    timestamptz,                   -- the first of them
    slow             boolean not null default false,
    blocked_until    timestamptz not null default '-infinity',
    last_success_at  timestamptz,
    last_failure_at  timestamptz,
    last_turn_at     timestamptz not null default '-infinity',
    check ((disabled_at is null) = (disabled_reason is null))
);

-- Apart from the endpoints, so that no query of those can show one.
create table webhook_secrets (
    endpoint_id  text not null,
    secret       text not null,
    created_at   timestamptz not null default clock_timestamp(),
    expires_at   timestamptz,                       -- null: the one that is current
    primary key (endpoint_id, secret)
);

-- The outbox: written by the transaction that changed the state. No foreign keys between these
-- tables: a million rows are to be written and cut without locking their endpoints.
create table webhook_events (
    id          text primary key,                   -- the webhook-id; sortable by time
    type        text not null,
    project_id  text,
    body        bytea not null,                     -- every attempt sends the same bytes
    created_at  timestamptz not null default clock_timestamp()
);

create table webhook_deliveries (
    id           text primary key,                  -- sortable by time
    endpoint_id  text not null,
    event_id     text not null,
    type         text not null,
    project_id   text,
    state        text not null default 'pending' check (state in
        ('pending', 'succeeded', 'exhausted')),
    step         integer not null default 0,        -- of the schedule: attempts that counted
    attempts     integer not null default 0,        -- all that were begun
    trigger      text not null default 'scheduled' check (trigger in ('scheduled', 'manual')),
    due_at       timestamptz not null default '-infinity',
    epoch        bigint not null default 0,         -- every change of state names it
    lease_until  timestamptz,
    created_at   timestamptz not null default clock_timestamp(),
    finished_at  timestamptz,
    last_status  integer,
    last_error   text
);
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, due_at, id)
    where state = 'pending';
create index webhook_deliveries_leased on webhook_deliveries (endpoint_id, lease_until)
    where lease_until is not null;
create index webhook_deliveries_of_endpoint on webhook_deliveries (endpoint_id, id);
create index webhook_deliveries_of_type on webhook_deliveries (type, id);
create index webhook_deliveries_exhausted on webhook_deliveries (id) where state = 'exhausted';
create index webhook_deliveries_pending on webhook_deliveries (id) where state = 'pending';
create index webhook_deliveries_of_event on webhook_deliveries (event_id);

create table webhook_attempts (
    delivery_id       text not null,
    number            integer not null,
    trigger           text not null,
    url               text,
    began_at          timestamptz,
    duration_ms       integer,
    status            integer,
    error             text,
    message           text not null default '',
    address           text,
    request_headers   jsonb not null default '{}',
    response_headers  jsonb not null default '{}',
    response_body     bytea not null default '',
    primary key (delivery_id, number)
);

-- migrate:down
drop table webhook_attempts;
drop table webhook_deliveries;
drop table webhook_events;
drop table webhook_secrets;
drop table webhook_endpoints;
