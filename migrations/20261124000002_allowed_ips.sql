-- migrate:up
-- Empty: from everywhere.
alter table keys add column allowed_ips cidr[] not null default '{}';

-- migrate:down
alter table keys drop column allowed_ips;
