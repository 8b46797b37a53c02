-- migrate:up
-- Since when the project is being deleted, and who asked for it: {"key_id", "key_name", "address",
-- "request_id"}. Written before its workspace is touched; the row goes once that is gone. Whoever
-- was interrupted in between leaves the rest to the next who asks, or to a sweep.
alter table projects
    add column deleting_at  timestamptz,
    add column deleting_by  jsonb;

create index projects_deleting on projects (deleting_at) where deleting_at is not null;

-- Workspaces that are being made for projects that have no row yet. Written before they are made,
-- removed with the project's insert: what is left here is of somebody who died in between, and a
-- sweep removes that workspace. `since` also tells whose attempt it is.
create table workspaces_in_making (
    project_id  text primary key,
    since       timestamptz not null default clock_timestamp()
);

-- migrate:down
drop table workspaces_in_making;
drop index projects_deleting;
alter table projects
    drop column deleting_by,
    drop column deleting_at;
