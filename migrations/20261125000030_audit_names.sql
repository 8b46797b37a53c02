-- migrate:up
-- A trigger looks names up where its caller's search_path says: a table or a function of the
-- caller's own, by the name of one of Postgres's, would have answered in its place.
alter function audit_refuse() set search_path = pg_catalog, pg_temp;
alter function audit_date() set search_path = pg_catalog, pg_temp;

-- migrate:down
alter function audit_refuse() reset search_path;
alter function audit_date() reset search_path;
