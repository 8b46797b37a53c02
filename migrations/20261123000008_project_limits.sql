-- migrate:up
-- Null: as many of a project's commands may run at once as its keys allow.
alter table projects add column max_concurrent integer check (max_concurrent > 0);

create index commands_running_of_project on commands (project_id) where status = 'running';

-- migrate:down
drop index commands_running_of_project;
alter table projects drop column max_concurrent;
