-- migrate:up
-- The secret before the last rotation stays good until its overlap is over. `version` changes with
-- everything that a process may have cached of a key.
alter table keys
    add column version                  bigint not null default 1,
    add column previous_secret_hash     bytea,
    add column previous_pepper_version  smallint,
    add column previous_expires_at      timestamptz,
    add column rotated_at               timestamptz,
    add column last_used_at             timestamptz,
    add column last_used_ip             inet;
create unique index keys_previous_secret_hash on keys (previous_secret_hash)
    where previous_secret_hash is not null;

-- migrate:down
drop index keys_previous_secret_hash;
alter table keys
    drop column last_used_ip,
    drop column last_used_at,
    drop column rotated_at,
    drop column previous_expires_at,
    drop column previous_pepper_version,
    drop column previous_secret_hash,
    drop column version;
