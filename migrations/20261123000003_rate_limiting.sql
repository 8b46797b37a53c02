-- migrate:up
-- Null: the server's default holds.
alter table keys
    add column rate_limit      integer check (rate_limit > 0),
    add column max_concurrent  integer check (max_concurrent > 0);

-- migrate:down
alter table keys
    drop column rate_limit,
    drop column max_concurrent;
