-- migrate:up
-- What happened: a row a fact, written in the transaction that makes it true. `entry` is the truth,
-- canonical JSON whose bytes the chain is made of; the other columns are for finding it.
create table audit_log (
    seq         bigint generated always as identity primary key,
    at          timestamptz not null,      -- the entry's own; from text to time is not immutable
    entry       text not null,
    action      text generated always as (entry::jsonb ->> 'action') stored not null,
    key_id      text generated always as (entry::jsonb ->> 'key_id') stored,
    address     text generated always as (entry::jsonb ->> 'address') stored,
    project_id  text generated always as (entry::jsonb ->> 'project') stored,
    subject     text generated always as (entry::jsonb ->> 'subject') stored,
    outcome     text generated always as (entry::jsonb ->> 'outcome') stored
);
create index audit_log_by_time on audit_log (at);
create index audit_log_by_action on audit_log (action, seq);
create index audit_log_by_key on audit_log (key_id, seq) where key_id is not null;
create index audit_log_by_project on audit_log (project_id, seq) where project_id is not null;
create index audit_log_by_subject on audit_log (subject, seq) where subject is not null;

-- The rows that no seal holds yet. A list, not a frontier of numbers or of transaction ids: a row
-- that commits late is still on it, and so is one of a dump that was restored where transaction
-- ids begin anew.
create table audit_unsealed (seq bigint primary key);

-- The seals: each hash is made of the one before, so that no row can be changed, taken out, put in
-- or moved without changing all that follow.
create table audit_chain (
    position  bigint primary key,
    seq       bigint not null unique,
    hash      bytea not null
);

-- Where the chain begins after retention has cut it: the last position cut, and its hash.
create table audit_cuts (
    position  bigint primary key,
    hash      bytea not null,
    removed   bigint not null,
    cut_at    timestamptz not null default clock_timestamp()
);

create function audit_enlist() returns trigger language plpgsql security definer as $$
begin
    insert into audit_unsealed values (new.seq);
    return null;
end
$$;
create trigger audit_log_enlist after insert on audit_log
    for each row execute function audit_enlist();

-- Against mistakes, and against whoever holds no more than the functions' role. Who owns the
-- tables can take triggers away: the chain is for that.
create function audit_refuse() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_setting('rdev.audit_may_delete', true) = tg_table_name then
        return null;
    end if;
    raise exception '% is append-only: % is refused', tg_table_name, tg_op
        using errcode = 'insufficient_privilege',
        hint = 'Whole sealed ranges are removed by audit_cut(), see docs/audit.md.';
end
$$;
create trigger audit_log_append_only before update or delete or truncate on audit_log
    for each statement execute function audit_refuse();
create trigger audit_unsealed_append_only before update or delete or truncate on audit_unsealed
    for each statement execute function audit_refuse();
create trigger audit_chain_append_only before update or delete or truncate on audit_chain
    for each statement execute function audit_refuse();
create trigger audit_cuts_append_only before update or delete or truncate on audit_cuts
    for each statement execute function audit_refuse();

-- Seal up to `most` rows, and tell how many; 0 also while somebody else is sealing. Inserts never
-- wait for it. hash = sha256(hash before || position || seq || sha256(entry)), the numbers as 8
-- bytes, big-endian; before the first position the hash is 32 zero bytes.
create function audit_seal(most integer) returns integer language plpgsql security definer as $$
declare
    seqs bigint[];
    hashes bytea[] := '{}';
    entries text[];
    start bigint := 0;
    last bytea := decode(repeat('00', 32), 'hex');
begin
    if not pg_try_advisory_xact_lock(7233002) then
        return 0;
    end if;
    select array_agg(seq order by seq), array_agg(entry order by seq) into seqs, entries from (
        select l.seq, l.entry from audit_unsealed u join audit_log l on l.seq = u.seq
        where not exists (select from audit_chain c where c.seq = u.seq)
        order by u.seq limit most
    ) waiting;
    if seqs is null then
        return 0;
    end if;
    select heads.position, heads.hash into start, last from (
        (select 0::bigint as position, last as hash)
        union all (select c.position, c.hash from audit_cuts c order by c.position desc limit 1)
        union all (select c.position, c.hash from audit_chain c order by c.position desc limit 1)
    ) heads order by heads.position desc limit 1;
    for n in 1 .. cardinality(seqs) loop
        last := sha256(last || int8send(start + n) || int8send(seqs[n])
            || sha256(convert_to(entries[n], 'UTF8')));
        hashes := hashes || last;
    end loop;
    insert into audit_chain (position, seq, hash)
        select start + n, seq, hash from unnest(seqs, hashes) with ordinality as s (seq, hash, n);
    perform set_config('rdev.audit_may_delete', 'audit_unsealed', true);
    delete from audit_unsealed where seq = any(seqs);
    perform set_config('rdev.audit_may_delete', '', true);
    return cardinality(seqs);
end
$$;

-- Remove the oldest sealed rows that are older than `before`, up to `most` of them, and tell what
-- was cut; no row of the last 24 hours, none that is not sealed, none behind one that stays.
create function audit_cut(before timestamptz, most integer)
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

-- They run with their owner's rights: they must find these tables, and no others of that name.
do $$
declare
    name text;
begin
    foreach name in array array['audit_enlist', 'audit_seal', 'audit_cut'] loop
        execute format('alter function %I set search_path = %I, pg_temp', name, current_schema());
        execute format('revoke execute on function %I from public', name);
    end loop;
    -- Row by row along the indexes, whatever the statistics say of tables that have just grown:
    -- any other join reads the whole log for each batch.
    foreach name in array array['audit_seal', 'audit_cut'] loop
        execute format('alter function %I set enable_mergejoin = off', name);
        execute format('alter function %I set enable_hashjoin = off', name);
        execute format('alter function %I set enable_seqscan = off', name);
    end loop;
end
$$;

-- What the functions' own database user needs of these tables, and no more. A role belongs to the
-- whole cluster: it may be there already, and whoever migrates may not be allowed to make one.
do $$
begin
    begin
        create role rdev_audit_writer nologin;
    exception
        when duplicate_object or unique_violation then null;
        when insufficient_privilege then
            raise notice 'no role rdev_audit_writer: docs/audit.md says how to add it';
            return;
    end;
    grant select on audit_log, audit_unsealed, audit_chain, audit_cuts to rdev_audit_writer;
    grant insert (at, entry) on audit_log to rdev_audit_writer;
    grant execute on function audit_seal to rdev_audit_writer;
end
$$;

-- migrate:down
drop table audit_cuts, audit_chain, audit_unsealed, audit_log;
drop function audit_cut, audit_seal, audit_refuse, audit_enlist;
