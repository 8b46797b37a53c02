-- migrate:up
-- When each step of a command was done, by the database's own clock; null where that is not known.
-- claimed_at: by the runner that has it, or had it; null again when it is put back.
-- first_output_at: its first byte reached its stream. ended_at: nothing of it runs any more.
alter table commands
    add column claimed_at       timestamptz,
    add column first_output_at  timestamptz,
    add column ended_at         timestamptz,
    add column archived_at      timestamptz;

-- One row: the last sweep of any runner, and the last one of which every step was done.
create table sweeps (
    one           boolean primary key default true check (one),
    tried_at      timestamptz not null,
    completed_at  timestamptz,
    problem       text not null default ''      -- of the last one: why it was not completed
);

-- migrate:down
drop table sweeps;
alter table commands
    drop column archived_at,
    drop column ended_at,
    drop column first_output_at,
    drop column claimed_at;
