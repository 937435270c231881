-- Statistics of production: what each episode and each task counts for, noted behind the sequencer, with totals beside them.
-- All of it can be emptied at any time, the cursor too; it is filled again from the first event (docs/statistics.md).

create table statistics_cursor (
    id boolean primary key default true,
    -- Every event up to here is counted.
    position bigint not null,
    constraint one_cursor_of_statistics check (id),
    constraint statistics_stand_in_the_log check (position >= 0)
) with (fillfactor = 50);
insert into statistics_cursor (position) values (0);

-- Whose an episode is was decided when it was made: the station is a binding of one robot and one data collector, and stays it.
-- Status and sync change where they stand: they are in no index.
create table counted_episodes (
    -- When the task ended, or else when the episode was made.
    happened_at timestamptz not null,
    episode_id bigint primary key,
    station_id bigint not null,
    scene_id bigint not null,
    sop_id bigint not null,
    factory_id bigint not null,
    organization_id bigint not null,
    size_bytes bigint not null,
    -- Unknown where neither the recorder nor the task says it.
    duration_ms bigint,
    -- What the robot was when the episode was made; unknown of a robot that nobody knows.
    robot_type_id bigint,
    cloud_synced boolean not null,
    qa_status text not null
) with (
    -- A window of a month is read by two processes where there are two.
    parallel_workers = 1,
    fillfactor = 85, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05
);
create index counted_episodes_by_time on counted_episodes (happened_at, episode_id);
create index counted_episodes_by_station on counted_episodes (station_id, happened_at, episode_id);

create table counted_tasks (
    task_id bigint primary key,
    assigned_at timestamptz not null,
    changed_at timestamptz not null,
    station_id bigint not null,
    scene_id bigint not null,
    sop_id bigint not null,
    -- Null while it has not ended.
    ended_at timestamptz,
    status text not null
) with (
    parallel_workers = 1, fillfactor = 85, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05
);
create index counted_tasks_by_time on counted_tasks (assigned_at, task_id);
create index counted_tasks_by_station on counted_tasks (station_id, assigned_at, task_id);
create index counted_tasks_by_end on counted_tasks (ended_at) where ended_at is not null;
create index counted_tasks_by_change on counted_tasks (changed_at, task_id);
create index counted_tasks_by_station_and_change on counted_tasks (station_id, changed_at, task_id);

-- How many there are of each kind, ever. No more rows than stations and what is done there.
create table episode_totals (
    station_id bigint not null,
    qa_status text not null,
    episodes bigint not null,
    duration_ms bigint not null,
    size_bytes bigint not null,
    primary key (station_id, qa_status)
) with (fillfactor = 50);
create table task_totals (
    station_id bigint not null,
    scene_id bigint not null,
    sop_id bigint not null,
    status text not null,
    tasks bigint not null,
    primary key (station_id, scene_id, sop_id, status)
) with (fillfactor = 50);
