-- How long each recording took from its end until it was verified, counted behind the sequencer with the statistics (docs/statistics.md). Episodes
-- from before have no row until their events are counted again: what is shown is the last hour.
create table counted_uploads (
    -- When its episode was made.
    verified_at timestamptz not null,
    episode_id bigint primary key,
    station_id bigint not null,
    -- From the moment in which the server heard that the recording is a file.
    waited_ms bigint not null
) with (fillfactor = 95, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create index counted_uploads_by_time on counted_uploads (verified_at) include (station_id, waited_ms);
