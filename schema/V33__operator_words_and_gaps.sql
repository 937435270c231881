-- What operators say of recordings, and what is recorded in place of others.

alter table tasks
    -- The last word of the operator on its recording.
    add column operator_word jsonb,
    -- The task that is recorded in its place; its order counts that one, and this one no more.
    add column replaced_by bigint;
-- Few are, and totals of lists count them beside what orders count.
create index tasks_that_were_replaced on tasks (status) where replaced_by is not null;

alter table episodes
    -- The last word of the operator, as judging hears it.
    add column operator_word jsonb;

-- Where messages are missing in recordings. Folded from `episode_measured`; rows of facts that were replaced have an older version than
-- the facts of their episode.
create table recording_gaps (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    episode_id bigint not null,
    station_id bigint not null,
    factory_id bigint not null,
    organization_id bigint not null,
    topic text not null,
    from_at timestamptz not null,
    to_at timestamptz not null,
    length_ms bigint not null,
    missing_messages bigint not null,
    cause text not null
);
create index recording_gaps_by_time on recording_gaps (from_at, id);
create index recording_gaps_by_topic on recording_gaps (topic, from_at, id);
create index recording_gaps_by_station on recording_gaps (station_id, from_at, id);
create index recording_gaps_by_episode on recording_gaps (episode_id, from_at, id);
create index recording_gaps_by_cause on recording_gaps (cause, from_at, id);
