-- migrate:up
-- The boot of the machine in which a command may have been started: written before anybody starts it.
-- A power cut may take the start token along, which waits for no disk; where the machine has another
-- boot and no token is there, nobody can tell whether it began. Null: not asked yet, or not known.
alter table commands add column boot_id text;

-- migrate:down
alter table commands drop column boot_id;
