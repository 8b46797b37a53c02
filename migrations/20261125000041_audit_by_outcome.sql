-- migrate:up transaction:false
-- With what outcome, newest first: those that are denied or failed are few among many.
create index concurrently audit_log_by_outcome on audit_log (outcome, seq) where outcome is not null;

-- migrate:down transaction:false
drop index concurrently audit_log_by_outcome;
