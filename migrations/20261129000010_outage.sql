-- migrate:up
-- For how long its workspace had not run, without an answer since, as a runner handed it over: the
-- next one counts on. `failing_s`: and was not on its way either.
alter table commands
    add column down_s    double precision not null default 0,
    add column failing_s double precision not null default 0;

-- migrate:down
alter table commands
    drop column failing_s,
    drop column down_s;
