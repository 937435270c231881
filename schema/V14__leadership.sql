-- Who gives positions. A lease, so that a leader that is suspended or cut off loses it although its session, as far as
-- Postgres knows, goes on.
create table leadership (
    one boolean primary key default true,
    -- Changes with every leader, and with every time that one begins anew. Zero: there was none yet.
    term bigint not null,
    -- What took the lead; it may take it again at once.
    holder uuid,
    -- Host and process id, for people.
    name text not null,
    lease_until timestamptz not null,
    taken_at timestamptz not null,
    constraint one_leadership check (one)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
insert into leadership (term, name, lease_until, taken_at) values (0, '', '-infinity', clock_timestamp());

-- Each term has a session lock of its own, which its leader holds: one that is free proves that the leader's session has
-- ended, and nobody has to wait for its lease. The other way round it proves nothing.
create function term_key(term bigint) returns integer language sql immutable as $$
    select (term % 2147483647)::integer
$$;

-- Takes the lead where it is free, and answers the term; null while it is held.
create function take_lead(p_class integer, p_holder uuid, p_name text, p_lease interval) returns bigint language plpgsql as $$
declare
    held leadership;
begin
    -- A leader that renews it, or another process that is taking it, has the row: then it is not free.
    select * into held from leadership for update skip locked;
    if not found then
        return null;
    end if;
    -- A lease that ends later than any lease can is from before the clock was set back.
    if held.lease_until between clock_timestamp() and clock_timestamp() + p_lease * 2 and held.holder is distinct from p_holder
       and not pg_try_advisory_xact_lock(p_class, term_key(held.term)) then
        return null;
    end if;
    -- Of an earlier term on this very session.
    perform pg_advisory_unlock(p_class, term_key(held.term));
    update leadership set term = held.term + 1, holder = p_holder, name = p_name,
                          lease_until = clock_timestamp() + p_lease, taken_at = clock_timestamp();
    perform pg_advisory_lock(p_class, term_key(held.term + 1));
    return held.term + 1;
end $$;

-- One step of the leader of a term: renews the lease, when a third of it is gone, and gives positions. Answers a null tick
-- where the lead went to another. It may go in the middle of the step, too: then both write the same numbers, and the primary keys
-- of `ticks` and `log` let one of them through.
create function lead_step(
    p_term bigint, p_lease interval,
    p_tick bigint, p_seen pg_snapshot, p_position bigint, p_hash bytea, p_floor bigint, p_system bigint,
    out tick_id bigint, out seen pg_snapshot, out "position" bigint, out hash bytea
) language plpgsql as $$
declare
    held_until timestamptz;
begin
    select l.lease_until into held_until from leadership l where l.term = p_term;
    if found and held_until not between clock_timestamp() + p_lease * (2.0 / 3) and clock_timestamp() + p_lease then
        update leadership l set lease_until = clock_timestamp() + p_lease where l.term = p_term;
    end if;
    if not found then
        return;
    end if;
    select s.tick_id, s.seen, s."position", s.hash into tick_id, seen, "position", hash
    from sequence_events(p_tick, p_seen, p_position, p_hash, p_floor, p_system) s;
end $$;
