-- Jobs for checkers that are programs elsewhere. Folded from the streams of the jobs; the queue is read from here.

create sequence outside_job_ids;

create table outside_jobs (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    episode_id bigint not null,
    -- The run that waits for it.
    run text not null,
    check_name text not null,
    -- What the check was asked with: another suite with the same numbers goes by what was said.
    limits jsonb not null,
    suite text not null,
    suite_version integer not null,
    state text not null,
    deadline timestamptz not null,
    -- How often it was claimed.
    attempts integer not null,
    -- Of the newest claim.
    checker text,
    lease_until timestamptz,
    not_done_cause text,
    settled_at timestamptz,
    factory_id bigint not null,
    organization_id bigint not null,
    -- What the checker said.
    report jsonb
);
-- The queue of each check: those that may be claimed, the most urgent first.
create index outside_jobs_to_claim on outside_jobs (check_name, deadline, id) where state in ('waiting', 'claimed');
-- Those whose time is over.
create index outside_jobs_by_deadline on outside_jobs (deadline) where state in ('waiting', 'claimed');
create index outside_jobs_by_lease on outside_jobs (lease_until) where state = 'claimed';
create index outside_jobs_by_episode on outside_jobs (episode_id, check_name, id);
