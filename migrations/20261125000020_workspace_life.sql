-- migrate:up
-- In which life of its workspace's files a command was to be started: where they are others, its
-- start token was lost with them, and it may not be started again. Null: not asked yet, or files that
-- cannot be lost.
alter table commands add column workspace_life text;

-- migrate:down
alter table commands drop column workspace_life;
