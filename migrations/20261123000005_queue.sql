-- migrate:up
-- The row is the only lease. Every change of state names the epoch that it believes in.
alter table commands
    add column epoch        bigint not null default 0,
    add column lease_until  timestamptz,
    add column runner       text,
    add column failures     integer not null default 0,   -- of infrastructure, while starting it
    add column not_before   timestamptz not null default '-infinity',
    add column announced    boolean not null default false;

create index commands_waiting on commands (priority, key_id, id) where status = 'queued';
create index commands_waiting_of_key on commands (key_id) where status = 'queued';
create index commands_running_of_key on commands (key_id) where status = 'running';
create index commands_leases on commands (lease_until) where status = 'running';
create index commands_unannounced on commands (finished_at)
    where not announced and status not in ('queued', 'running');

-- One row a key: locked by whoever claims for the key, so its limits are counted once, and
-- ordered by its last turn, so that keys take turns.
create table queue_turns (
    key_id        text primary key,
    last_turn_at  timestamptz not null default '-infinity'
);

create table idempotency_keys (
    key_id        text not null,
    project_id    text not null,
    value         text not null,
    request_hash  bytea not null,
    command_id    text not null,
    created_at    timestamptz not null default now(),
    primary key (key_id, project_id, value)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- migrate:down
drop table idempotency_keys;
drop table queue_turns;
drop index commands_unannounced, commands_leases, commands_running_of_key,
    commands_waiting_of_key, commands_waiting;
alter table commands
    drop column announced,
    drop column not_before,
    drop column failures,
    drop column runner,
    drop column lease_until,
    drop column epoch;
