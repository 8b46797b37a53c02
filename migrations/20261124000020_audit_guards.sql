-- migrate:up
-- The database says when a row was written, not who writes it: nobody without the right to switch
-- triggers off puts a row in the past. The text is stored as jsonb prints it, each name once.
create function audit_date() returns trigger language plpgsql as $$
begin
    new.at := clock_timestamp();
    new.entry := jsonb_set(new.entry::jsonb, '{at}', to_jsonb(
        to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')))::text;
    return new;
end
$$;
create trigger audit_log_date before insert on audit_log
    for each row execute function audit_date();

-- What the log's readers rely on. Rows from before may break it: then it holds for new ones alone,
-- and the check of the log names the others.
alter table audit_log add constraint audit_log_entry_is_whole check (
    jsonb_path_match(entry::jsonb, '
        strict $.type() == "object" && $.at.type() == "string" && $.action.type() == "string"')
    and not jsonb_path_exists(entry::jsonb, '
        $.keyvalue() ? ((@.key == "key_id" || @.key == "key_name" || @.key == "address"
            || @.key == "request" || @.key == "project" || @.key == "subject"
            || @.key == "outcome") && @.value.type() != "string" && @.value.type() != "null"
            || @.key == "details" && @.value.type() != "object")')
) not valid;
do $$
begin
    alter table audit_log validate constraint audit_log_entry_is_whole;
exception when check_violation then
    raise notice 'rows of the audit log are malformed: rdev audit verify names them';
end
$$;

-- A setting alone lets nobody delete: it has to be set by the functions below, which run as their
-- owner.
create or replace function audit_refuse() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_setting('rdev.audit_may_delete', true) = tg_table_name
        and exists (select from pg_proc where proname = 'audit_cut' and prosecdef
            and pronamespace = tg_table_schema::regnamespace and proowner = current_user::regrole)
    then
        return null;
    end if;
    raise exception '% is append-only: % is refused', tg_table_name, tg_op
        using errcode = 'insufficient_privilege',
        hint = 'Whole sealed ranges are removed by audit_cut(), see docs/audit.md.';
end
$$;

-- As before, and it tells of itself in the log.
create or replace function audit_cut(before timestamptz, most integer)
    returns table (up_to bigint, last_hash bytea, cut bigint) language plpgsql
    security definer as $$
declare
    bound timestamptz := least(before, now() - interval '24 hours');
    seqs bigint[];
begin
    perform pg_advisory_xact_lock(7233002);
    with oldest as (
        select c.position, c.seq, c.hash, l.at from audit_chain c
        left join audit_log l on l.seq = c.seq order by c.position limit most
    ), staying as (
        select min(position) as first from oldest where at is null or at >= bound
    ), old as (
        select o.* from oldest o, staying s where s.first is null or o.position < s.first
    )
    select max(o.position), (array_agg(o.hash order by o.position desc))[1], count(*),
        array_agg(o.seq)
    into up_to, last_hash, cut, seqs from old o;
    if cut = 0 then
        return;
    end if;
    insert into audit_cuts (position, hash, removed) values (up_to, last_hash, cut);
    perform set_config('rdev.audit_may_delete', 'audit_log', true);
    delete from audit_log where seq = any(seqs);
    perform set_config('rdev.audit_may_delete', 'audit_chain', true);
    delete from audit_chain where position <= up_to;
    perform set_config('rdev.audit_may_delete', '', true);
    insert into audit_log (at, entry) values (clock_timestamp(), jsonb_build_object(
        'v', 1, 'action', 'audit.cut', 'details', jsonb_build_object(
            'removed', cut, 'position', up_to, 'hash', encode(last_hash, 'hex'),
            'database_user', session_user))::text);
    return next;
end
$$;

-- `create or replace` forgets the settings of a function.
do $$
begin
    execute format('alter function audit_cut set search_path = %I, pg_temp', current_schema());
end
$$;
alter function audit_cut set enable_mergejoin = off;
alter function audit_cut set enable_hashjoin = off;
alter function audit_cut set enable_seqscan = off;

-- Roles belong to the whole cluster: they may be there already, and whoever migrates may be allowed
-- neither to make them nor to give functions to them. What then holds: docs/audit.md.
do $$
declare
    role text;
begin
    foreach role in array array['rdev_audit_writer', 'rdev_audit_keeper'] loop
        if not exists (select from pg_roles where rolname = role) then
            begin
                execute format('create role %I nologin', role);
            exception
                when duplicate_object or unique_violation then null;
                when insufficient_privilege then
                    raise notice 'no role %: docs/audit.md says how to add it', role;
            end;
        end if;
    end loop;
    if exists (select from pg_roles where rolname = 'rdev_audit_writer') then
        grant select on audit_log, audit_unsealed, audit_chain, audit_cuts to rdev_audit_writer;
        grant insert (at, entry) on audit_log to rdev_audit_writer;
        grant execute on function audit_seal to rdev_audit_writer;
    end if;
end
$$;

-- The keeper owns the two functions that delete, and nobody logs in as it. Whoever migrates keeps
-- the right to call them.
do $$
declare
    borrowed boolean;
    opened boolean;
begin
    -- From version 16 on a member need not be allowed to become what it is a member of.
    borrowed := not pg_has_role(current_user, 'rdev_audit_keeper', case
        when current_setting('server_version_num')::integer < 160000 then 'MEMBER' else 'SET' end);
    opened := not has_schema_privilege('rdev_audit_keeper', current_schema(), 'CREATE');
    if borrowed then
        execute format('grant rdev_audit_keeper to %I', current_user);
    end if;
    grant select, insert, delete on audit_log, audit_unsealed, audit_chain, audit_cuts
        to rdev_audit_keeper;
    execute format('grant usage on schema %I to rdev_audit_keeper', current_schema());
    if opened then
        execute format('grant create on schema %I to rdev_audit_keeper', current_schema());
    end if;
    alter function audit_seal owner to rdev_audit_keeper;
    alter function audit_cut owner to rdev_audit_keeper;
    -- Now, and not before: what the owner itself holds goes over with the functions.
    execute format('grant execute on function audit_seal, audit_cut to %I', current_user);
    if opened then
        execute format('revoke create on schema %I from rdev_audit_keeper', current_schema());
    end if;
    if borrowed then
        execute format('revoke rdev_audit_keeper from %I', current_user);
    end if;
exception
    when insufficient_privilege or undefined_object then
        raise notice 'rdev_audit_keeper does not own audit_cut: docs/audit.md says what then holds';
end
$$;

-- migrate:down
do $$
begin
    if exists (select from pg_roles where rolname = 'rdev_audit_keeper') then
        execute format('grant rdev_audit_keeper to %I', current_user);
        execute format('alter function audit_seal owner to %I', current_user);
        execute format('alter function audit_cut owner to %I', current_user);
        execute format('revoke rdev_audit_keeper from %I', current_user);
        revoke all on audit_log, audit_unsealed, audit_chain, audit_cuts from rdev_audit_keeper;
        execute format('revoke all on schema %I from rdev_audit_keeper', current_schema());
    end if;
exception
    when insufficient_privilege then null;  -- they never were its own
end
$$;
create or replace function audit_refuse() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_setting('rdev.audit_may_delete', true) = tg_table_name then
        return null;
    end if;
    raise exception '% is append-only: % is refused', tg_table_name, tg_op
        using errcode = 'insufficient_privilege',
        hint = 'Whole sealed ranges are removed by audit_cut(), see docs/audit.md.';
end
$$;

create or replace function audit_cut(before timestamptz, most integer)
    returns table (up_to bigint, last_hash bytea, cut bigint) language plpgsql
    security definer as $$
declare
    bound timestamptz := least(before, now() - interval '24 hours');
    seqs bigint[];
begin
    perform pg_advisory_xact_lock(7233002);
    with oldest as (
        select c.position, c.seq, c.hash, l.at from audit_chain c
        left join audit_log l on l.seq = c.seq order by c.position limit most
    ), staying as (
        select min(position) as first from oldest where at is null or at >= bound
    ), old as (
        select o.* from oldest o, staying s where s.first is null or o.position < s.first
    )
    select max(o.position), (array_agg(o.hash order by o.position desc))[1], count(*),
        array_agg(o.seq)
    into up_to, last_hash, cut, seqs from old o;
    if cut = 0 then
        return;
    end if;
    insert into audit_cuts (position, hash, removed) values (up_to, last_hash, cut);
    perform set_config('rdev.audit_may_delete', 'audit_log', true);
    delete from audit_log where seq = any(seqs);
    perform set_config('rdev.audit_may_delete', 'audit_chain', true);
    delete from audit_chain where position <= up_to;
    perform set_config('rdev.audit_may_delete', '', true);
    return next;
end
$$;

-- `create or replace` forgets the settings of a function.
do $$
begin
    execute format('alter function audit_cut set search_path = %I, pg_temp', current_schema());
end
$$;
alter function audit_cut set enable_mergejoin = off;
alter function audit_cut set enable_hashjoin = off;
alter function audit_cut set enable_seqscan = off;

alter table audit_log drop constraint audit_log_entry_is_whole;
drop trigger audit_log_date on audit_log;
drop function audit_date;
