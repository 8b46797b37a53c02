-- migrate:up
-- The functions that run with their owner's rights looked functions up in the schema of their
-- tables too, and whoever may create there (until Postgres 15 everybody, in `public`) could have
-- put in one that fits better than Postgres's own. Now only their tables are looked for there,
-- by their whole names.
do $$
declare
    place text := quote_ident(current_schema());
    named regprocedure;
    keeper name;
    borrowed boolean;
begin
    foreach named in array array['audit_enlist()', 'audit_seal(integer)',
        'audit_cut(timestamptz, integer)']::regprocedure[] loop
        select proowner::regrole into keeper from pg_proc where oid = named;
        borrowed := not pg_has_role(current_user, keeper, 'USAGE');
        if borrowed then
            execute format('grant %I to %I', keeper, current_user);
        end if;
        execute regexp_replace(pg_get_functiondef(named),
            $re$(?<!['.])\maudit_(log|unsealed|chain|cuts)\M$re$, place || '.audit_\1', 'g');
        execute format('alter function %s set search_path = pg_catalog, pg_temp', named);
        if borrowed then
            execute format('revoke %I from %I', keeper, current_user);
        end if;
    end loop;
exception
    when insufficient_privilege then
        raise notice 'audit_seal and audit_cut are as they were: docs/audit.md says what then holds';
end
$$;

-- migrate:down
do $$
declare
    place text := quote_ident(current_schema());
    named regprocedure;
    keeper name;
    borrowed boolean;
begin
    foreach named in array array['audit_enlist()', 'audit_seal(integer)',
        'audit_cut(timestamptz, integer)']::regprocedure[] loop
        select proowner::regrole into keeper from pg_proc where oid = named;
        borrowed := not pg_has_role(current_user, keeper, 'USAGE');
        if borrowed then
            execute format('grant %I to %I', keeper, current_user);
        end if;
        execute replace(pg_get_functiondef(named), place || '.audit_', 'audit_');
        execute format('alter function %s set search_path = %s, pg_temp', named, place);
        if borrowed then
            execute format('revoke %I from %I', keeper, current_user);
        end if;
    end loop;
exception
    when insufficient_privilege then null;  -- they never were changed
end
$$;
