-- migrate:up transaction:false
-- From where, newest first: what one address did, without reading the log for it.
create index concurrently audit_log_by_address on audit_log (address, seq) where address is not null;

-- migrate:down transaction:false
drop index concurrently audit_log_by_address;
