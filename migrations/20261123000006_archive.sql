-- migrate:up
-- archived: the whole stream lies in the archive, or all of it that could be had.
alter table commands
    add column archived             boolean not null default false,
    add column archive_removed_at   timestamptz;

create index commands_unarchived on commands (finished_at)
    where not archived and status not in ('queued', 'running');
create index commands_archived on commands (finished_at)
    where archived and archive_removed_at is null;

-- migrate:down
drop index commands_archived, commands_unarchived;
alter table commands
    drop column archive_removed_at,
    drop column archived;
