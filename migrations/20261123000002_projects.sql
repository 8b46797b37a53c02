-- migrate:up
create table projects (
    id          text primary key,
    git_url     text,
    env         jsonb not null default '{}',
    created_at  timestamptz not null default now(),
    created_by  text not null
);

-- migrate:down
drop table projects;
