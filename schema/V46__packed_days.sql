-- What statistics count, packed by the day: a month of a hundred stations is some thousand rows, and not a hundred thousand. Each record is in it as
-- it is, so any window, any clock and any filter are answered exactly (docs/statistics.md).
-- All of it is counted again from the first event.

truncate counted_episodes, counted_tasks, episode_totals, task_totals, waiting_episodes, counted_gaps, statistics_cursor;
alter table statistics_cursor
    -- What is counted is packed in the same step. A process of the version before does not pack, and cannot move on from here: a process of this
    -- version counts in its place.
    add column packed_to bigint not null,
    add constraint what_is_counted_is_packed check (packed_to = position);

-- The episodes of a station and a day that are of one scene, SOP, type, factory and organization. Their records are written and read by
-- `projections::packed_days`.
create table packed_episodes (
    day date not null,
    part integer not null,
    station_id bigint not null,
    scene_id bigint not null,
    sop_id bigint not null,
    factory_id bigint not null,
    organization_id bigint not null,
    robot_type_id bigint,
    episodes bytea not null,
    primary key (station_id, day, part)
) with (fillfactor = 70, toast_tuple_target = 8160, parallel_workers = 0, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create index packed_episodes_by_day on packed_episodes (day);

create table packed_tasks (
    day date not null,
    station_id bigint not null,
    tasks bytea not null,
    primary key (station_id, day)
) with (fillfactor = 70, toast_tuple_target = 8160, parallel_workers = 0, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create index packed_tasks_by_day on packed_tasks (day);

-- They are read as a whole, and soon: packing them once more would cost more than the disk.
alter table packed_episodes alter column episodes set storage external;
alter table packed_tasks alter column tasks set storage external;

-- How far inspectors agree is asked of episodes that two decided about.
create index second_decisions_by_time on inspection_decisions (created_at) where place = 1;
