-- migrate:up
-- What a record's `reason` means here, in a sentence: which program was not found, what the
-- workspace said. Null where the reason says it all.
alter table commands add column reason_message text;

-- migrate:down
alter table commands drop column reason_message;
