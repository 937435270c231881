-- Judging episodes: which run holds each, what runs found, and how long a run may hold one.

alter table episodes
    -- What people say of it.
    add column note text,
    -- The check that says most about the last run, as lists show it.
    add column latest_check jsonb,
    -- What the last run said, whether or not the status follows it.
    add column verdict text,
    -- Until when a run holds it; null while none does.
    add column qa_until timestamptz,
    -- Of the decision that the status comes from.
    add column inspector_id bigint,
    add column inspection_decision text,
    add column inspected_at timestamptz,
    -- Why a person has to decide; null where there is nothing to decide.
    add column inspection_cause text,
    add column inspection_distance bigint,
    add column inspection_taken_by bigint,
    add column inspection_until timestamptz,
    add column inspection_deciders bigint[] not null default '{}',
    add column inspection_blind boolean not null default false;
-- The queue, by age and by how near the score is to what would approve it.
create index episodes_to_inspect on episodes (created_at, id) where inspection_cause is not null;
create index episodes_to_inspect_by_certainty on episodes (coalesce(inspection_distance, 1000), created_at, id) where inspection_cause is not null;
create index episodes_held_by_a_run on episodes (qa_until) where qa_until is not null;

create sequence qa_run_ids;

-- Runs that ended, each with all that its checks said. Folded from `qa_run_ended`.
create table qa_runs (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    episode_id bigint not null,
    run text not null,
    mode text not null,
    suite text not null,
    suite_version integer not null,
    measured_by integer not null,
    verdict text not null,
    -- Whether the episode stayed as it was.
    kept boolean not null,
    score double precision not null,
    flag text,
    parts jsonb not null,
    checks jsonb not null
);
create index qa_runs_by_episode on qa_runs (episode_id, id);

-- The newest facts of each episode, packed: what another suite would say of a hundred thousand episodes is computed in seconds.
create table episode_facts (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    packed bytea not null
);
-- It is packed already.
alter table episode_facts alter column packed set storage external;

create sequence qa_suite_ids;

-- Versions of suites. Of each scope at most one is active; the one that replaces another is written in the same transaction.
create table qa_suites (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    name text not null,
    suite_version integer not null,
    scope_kind text not null,
    -- Of the robot type or SOP; null where it is for all.
    scope_id bigint,
    state text not null,
    note text,
    activated_at timestamptz,
    retired_at timestamptz,
    rules jsonb not null,
    constraint one_suite_per_name_and_version unique (name, suite_version),
    constraint one_active_suite_per_scope exclude using btree (scope_kind with =, (coalesce(scope_id, 0)) with =)
        where (state = 'active') deferrable initially deferred
);

create sequence inspector_ids;

-- People who decide about episodes. Who they are stands in `people`; this is a copy, as of every person.
create table inspectors (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    organization_id bigint not null,
    certification_level text not null,
    status text not null,
    metadata jsonb not null,
    name text,
    inspector_id text,
    email text
);
create unique index inspector_ids_are_unique on inspectors (comparable(inspector_id));

create sequence inspection_decision_ids;

-- What inspectors decided. Folded from `inspection_decided`.
create table inspection_decisions (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    episode_id bigint not null,
    inspector_id bigint not null,
    decision text not null,
    effect text not null,
    reason text not null,
    tags text[] not null,
    duration_sec double precision,
    round integer not null,
    place integer not null
);
create index inspection_decisions_by_episode on inspection_decisions (episode_id, id);
create index inspection_decisions_by_inspector on inspection_decisions (inspector_id, created_at);
