-- migrate:up
-- Why rdev is ending a running command: {"status", "reason"}. Written before its first signal, so
-- that whoever takes over knows whose doing the end was.
alter table commands add column stopping jsonb;

-- migrate:down
alter table commands drop column stopping;
