-- What the log is searched by, filled behind the sequencer: no index for readers stands on `events`, which writers would
-- wait for. Both tables can be emptied at any time; they are filled again from the first event (docs/event-log.md).

-- The positions that were noted: without a gap, up to the last one.
create table log_index (
    position bigint primary key,
    -- When the log had it: when it was recorded, and not earlier than the ones before.
    logged_at timestamptz not null
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create index log_index_by_time on log_index (logged_at, position);

-- A text that an event is found by, as the first 8 bytes of its SHA-256, and where the event is.
create table log_terms (
    term bigint not null,
    position bigint not null,
    primary key (term, position)
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
