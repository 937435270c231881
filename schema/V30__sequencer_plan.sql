-- A step of the sequencer finds what is new by transaction, and by nothing else. Where a few transactions had stored most events (batches of a
-- thousand tasks), the planner took `seq > floor` for the shorter way, and each step read all events there are. The floor is
-- a filter: `+ 0` keeps it from being a way in. Else as before.
create or replace function sequence_events(
    p_tick bigint, p_seen pg_snapshot, p_position bigint, p_hash bytea, p_floor bigint, p_system bigint,
    out tick_id bigint, out seen pg_snapshot, out "position" bigint, out hash bytea
) language plpgsql set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    current_view pg_snapshot := pg_current_snapshot();
begin
    with fresh as (
        select e.seq, event_digest(e) as digest from events e
        where e.txid >= pg_snapshot_xmax(p_seen) and e.txid < pg_snapshot_xmax(current_view)
          and pg_visible_in_snapshot(e.txid, current_view) and e.seq + 0 > p_floor
        union all
        select e.seq, event_digest(e) from events e
        where e.txid = any (array(select pg_snapshot_xip(p_seen)))
          and pg_visible_in_snapshot(e.txid, current_view) and e.seq + 0 > p_floor
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
