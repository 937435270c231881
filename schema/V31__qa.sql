-- Judging episodes: which run holds each, what runs found, and how long a run may hold one.

alter table episodes
    -- The check that says most about the last run, as lists show it.
    add column latest_check jsonb,
    -- Until when a run holds it; null while none does.
    add column qa_until timestamptz;
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
