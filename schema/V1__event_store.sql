-- The event store: what happened, for ever, and the order in which it became visible.

create sequence event_seq as bigint cache 1;

-- A superset of the table that postgres-es reads and writes: same names, same primary key.
create table events (
    aggregate_type text not null,
    aggregate_id text not null,
    sequence bigint not null,
    event_type text not null,
    event_version text not null,
    payload jsonb not null,
    metadata jsonb not null,
    -- The order of appending. Taken before commit, so it becomes visible out of order: never a cursor.
    seq bigint not null default nextval('event_seq'),
    -- Tells the sequencer which events became visible between two of its snapshots. Means
    -- nothing in another cluster, so nothing else may use it.
    txid xid8 not null default pg_current_xact_id(),
    recorded_at timestamptz not null default clock_timestamp(),
    -- A lost race between two appends shows as a violation of this constraint, by name.
    constraint one_event_per_version primary key (aggregate_type, aggregate_id, sequence),
    constraint streams_start_at_one check (sequence >= 1)
) with (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
create unique index events_by_seq on events (seq);
create index events_by_txid on events (txid);

-- Gapless positions in commit order, and the hash chain over them.
create table log (
    position bigint primary key,
    seq bigint not null,
    -- sha256(hash of the position before || digest of the event)
    hash bytea not null,
    constraint one_position_per_event unique (seq),
    constraint positions_start_at_one check (position >= 1)
);

-- What the sequencer had seen when it last wrote: append-only, and read once when a leader starts.
create table ticks (
    -- Two leaders would write the same number: the primary key lets one of them through.
    tick_id bigint primary key,
    seen pg_snapshot not null,
    position bigint not null,
    hash bytea not null,
    -- Everything appended up to here has a position, whatever its txid says: set when the
    -- data moved to another cluster, where old transaction ids mean nothing.
    floor_seq bigint not null,
    -- The cluster in which `seen` was taken; null where it could not be asked.
    system_identifier bigint,
    made_at timestamptz not null default clock_timestamp()
);

-- States of long streams, written after the commit; may be deleted at any time.
create table stream_snapshots (
    aggregate_type text not null,
    aggregate_id text not null,
    snapshot_version integer not null,
    sequence bigint not null,
    state jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (aggregate_type, aggregate_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

-- Events and their order are never changed: the service has no right to, and this refuses anyone who has.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'rows of % are never changed or removed', tg_table_name
        using errcode = 'integrity_constraint_violation', hint = 'append an event that corrects what was wrong';
end $$;
create trigger events_are_never_changed before update or delete on events for each row execute function refuse_change();
create trigger events_are_never_emptied before truncate on events for each statement execute function refuse_change();
create trigger log_is_never_changed before update or delete on log for each row execute function refuse_change();
create trigger log_is_never_emptied before truncate on log for each statement execute function refuse_change();
revoke update, delete, truncate on events, log from public, current_user;

-- Everything that makes an event what it is, in one unambiguous encoding.
create function event_digest(e events) returns bytea language sql stable as $$
    select sha256(convert_to(jsonb_build_array(
        e.seq, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.metadata,
        (extract(epoch from e.recorded_at) * 1000000)::bigint
    )::text, 'UTF8'))
$$;

create function chain_hash(before bytea, digest bytea) returns bytea language sql immutable as $$
    select sha256(before || digest)
$$;

create function chain_step(state bytea, genesis bytea, digest bytea) returns bytea language sql immutable as $$
    select sha256(coalesce(state, genesis) || digest)
$$;
-- The hash after each row of a window, starting from the hash before the first.
create aggregate chain_over(genesis bytea, digest bytea) (sfunc = chain_step, stype = bytea);

create function cluster_identifier() returns bigint language plpgsql stable as $$
begin
    return (select system_identifier from pg_control_system());
exception when insufficient_privilege then
    return null;
end $$;

-- One step of the sequencer: gives positions to what became visible since the snapshot `p_seen`.
-- The watermark is taken by a statement of its own, before the one that reads the rows, so that
-- the rows read are never older than the watermark says. Plans are pinned: a generic plan made
-- while the table was empty would scan all of it for ever.
create function sequence_events(
    p_tick bigint, p_seen pg_snapshot, p_position bigint, p_hash bytea, p_floor bigint, p_system bigint,
    out tick_id bigint, out seen pg_snapshot, out "position" bigint, out hash bytea
) language plpgsql set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    current_view pg_snapshot := pg_current_snapshot();
begin
    with fresh as (
        select e.seq, event_digest(e) as digest from events e
        where e.txid >= pg_snapshot_xmax(p_seen) and e.txid < pg_snapshot_xmax(current_view)
          and pg_visible_in_snapshot(e.txid, current_view) and e.seq > p_floor
        union all
        select e.seq, event_digest(e) from events e
        where e.txid = any (array(select pg_snapshot_xip(p_seen)))
          and pg_visible_in_snapshot(e.txid, current_view) and e.seq > p_floor
    ), placed as (
        insert into log (position, seq, hash)
        select p_position + row_number() over (order by f.seq), f.seq, chain_over(p_hash, f.digest) over (order by f.seq)
        from fresh f
        returning log.position, log.hash
    )
    select p.position, p.hash into "position", hash from placed p order by p.position desc limit 1;
    if "position" is null then
        -- Nothing durable to say: the next step starts from the same place with a newer view.
        tick_id := p_tick; seen := current_view; "position" := p_position; hash := p_hash;
        return;
    end if;
    insert into ticks (tick_id, seen, position, hash, floor_seq, system_identifier)
    values (p_tick + 1, current_view, "position", hash, p_floor, p_system);
    tick_id := p_tick + 1; seen := current_view;
end $$;

-- After the data moved to another cluster: gives positions to whatever has none, and starts counting
-- from a snapshot of this cluster. To be called in a REPEATABLE READ transaction, so that the rows
-- and the snapshot are of the same moment; what is in flight then is found by the next step.
-- Rows whose txid this cluster has not come to yet are from the old one: they stay below the floor.
create function rebase_sequencer(out tick_id bigint, out placed bigint) language plpgsql as $$
declare
    current_view pg_snapshot := pg_current_snapshot();
    last ticks;
    floor_seq bigint;
    last_position bigint;
    last_hash bytea;
begin
    if current_setting('transaction_isolation') <> 'repeatable read' then
        raise exception 'rebase_sequencer needs a REPEATABLE READ transaction';
    end if;
    select * into last from ticks t order by t.tick_id desc limit 1;
    with fresh as (
        select e.seq, event_digest(e) as digest from events e where not exists (select from log l where l.seq = e.seq)
    )
    insert into log (position, seq, hash)
    select last.position + row_number() over (order by f.seq), f.seq, chain_over(last.hash, f.digest) over (order by f.seq)
    from fresh f;
    get diagnostics placed = row_count;
    select coalesce(max(e.seq), 0) into floor_seq from events e where not pg_visible_in_snapshot(e.txid, current_view);
    select l.position, l.hash into last_position, last_hash from log l order by l.position desc limit 1;
    insert into ticks (tick_id, seen, position, hash, floor_seq, system_identifier)
    values (last.tick_id + 1, current_view, coalesce(last_position, last.position), coalesce(last_hash, last.hash), floor_seq, cluster_identifier())
    returning ticks.tick_id into tick_id;
end $$;

insert into ticks (tick_id, seen, position, hash, floor_seq, system_identifier)
values (0, pg_current_snapshot(), 0, sha256('keystone edge'), 0, cluster_identifier());
