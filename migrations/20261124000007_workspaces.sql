-- migrate:up
-- Which template a workspace was made from, and whether it is to run. `settled`: the place where it
-- lies was told so. `claim_after`: nobody need claim a command of it before, for its workspace is
-- on its way. `setup_command`: the command that fills it; the others wait for its end.
alter table projects
    add column template       text,
    add column stopped        boolean not null default false,
    add column settled        boolean not null default true,
    add column used_at        timestamptz not null default clock_timestamp(),
    add column claim_after    timestamptz,
    add column setup_command  text;

create index projects_awaited on projects (claim_after) where claim_after is not null;
create index projects_unsettled on projects (id) where not settled;

-- How often a command was put back because its workspace was not there yet, since when, and what
-- that workspace said the last time.
alter table commands
    add column waits          integer not null default 0,
    add column waiting_since  timestamptz,
    add column waiting_for    text;

create index commands_queued_of_project on commands (project_id) where status = 'queued';

-- migrate:down
drop index commands_queued_of_project;
alter table commands
    drop column waiting_for,
    drop column waiting_since,
    drop column waits;
drop index projects_unsettled, projects_awaited;
alter table projects
    drop column setup_command,
    drop column claim_after,
    drop column used_at,
    drop column settled,
    drop column stopped,
    drop column template;
