-- migrate:up
-- For how long a command has been waiting for its workspace, counted from look to look: so that a
-- clock that is set ahead, or an hour without a runner, does not count as an hour of waiting.
alter table commands
    add column waited_s   double precision not null default 0,
    add column looked_at  timestamptz;

-- migrate:down
alter table commands
    drop column looked_at,
    drop column waited_s;
