-- What the dashboard of quality counts, beside what statistics count (V42). All of it is counted again from the first event.
-- A process of the version before cannot count from here on: what it would write lacks a column that has no default, so it is
-- refused, and a process of this version counts in its place.

truncate counted_episodes, counted_tasks, episode_totals, task_totals, statistics_cursor;
alter table counted_episodes
    -- The present approval is that of an automatic run.
    add column auto_approved boolean not null,
    -- Why a machine alone did not approve it; null where it did, or has not judged it.
    add column reason text;

-- What waits for an inspector now: the queue, as large as it is.
create table waiting_episodes (
    episode_id bigint primary key,
    -- When its upload was verified.
    arrived_at timestamptz not null,
    cause text not null,
    station_id bigint not null,
    scene_id bigint not null,
    sop_id bigint not null,
    robot_type_id bigint,
    factory_id bigint not null,
    organization_id bigint not null
) with (fillfactor = 85);

-- What is missing on one topic of one episode, by the newest facts: the gap ledger, put together.
create table counted_gaps (
    happened_at timestamptz not null,
    episode_id bigint not null,
    station_id bigint not null,
    scene_id bigint not null,
    sop_id bigint not null,
    robot_type_id bigint,
    factory_id bigint not null,
    organization_id bigint not null,
    missing_ms bigint not null,
    longest_ms bigint not null,
    missing_messages bigint not null,
    gaps integer not null,
    -- By the guess of their cause; the rest is unknown.
    by_disk integer not null,
    by_sensor integer not null,
    by_queue integer not null,
    topic text not null,
    primary key (episode_id, topic)
) with (parallel_workers = 1, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create index counted_gaps_by_time on counted_gaps (happened_at, episode_id);

-- How far inspectors agree is asked for a window.
create index inspection_decisions_by_time on inspection_decisions (created_at, id);

-- Whether tasks are of a subscene is asked before it is deleted.
create index tasks_by_subscene on tasks (subscene_id);
