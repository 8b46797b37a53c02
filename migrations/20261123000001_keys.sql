-- migrate:up
create table keys (
    id              text primary key,
    name            text not null,
    description     text not null default '',
    hint            text not null,             -- the secret's first characters, to recognise it by
    secret_hash     bytea not null unique,     -- HMAC-SHA256 of the secret under the pepper
    pepper_version  smallint not null default 1,
    scopes          text[] not null,
    projects        text[] not null default '{*}',
    expires_at      timestamptz,
    created_at      timestamptz not null default now(),
    created_by      text,
    revoked_at      timestamptz
);

-- migrate:down
drop table keys;
