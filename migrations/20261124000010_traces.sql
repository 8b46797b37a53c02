-- migrate:up
-- The trace that a command was queued in, and that an event was written in: a W3C traceparent, so
-- that whoever runs the one and sends the other goes on with it.
alter table commands add column trace_context text;
alter table webhook_events add column trace_context text;

-- migrate:down
alter table webhook_events drop column trace_context;
alter table commands drop column trace_context;
