-- Bulk runs: work on many things that one request asked for, worked off piece by piece by any process.

-- What is known of each run, folded from its events.
create table bulk_runs (
    id text primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    action text not null,
    total_count bigint not null,
    cancel_requested boolean not null,
    -- Null while there is something left to do.
    ended text,
    passed_count bigint not null,
    qa_failed_count bigint not null,
    processing_failed_count bigint not null,
    skipped_count bigint not null,
    started_at timestamptz,
    -- Why it could not go on.
    error_message text
);
create index bulk_runs_by_age on bulk_runs (created_at, id);

-- How far a run is that has not ended; gone when it has. Kept in the transaction of every piece, so that a crash loses no count.
create table bulk_run_progress (
    run_id text primary key,
    accepted_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    updated_at timestamptz not null default clock_timestamp(),
    passed bigint not null default 0,
    qa_failed bigint not null default 0,
    processing_failed bigint not null default 0,
    skipped bigint not null default 0,
    -- Of kinds of which only one may be active.
    single text,
    -- While in the future, one process works on it.
    leased_until timestamptz,
    leased_by text,
    -- Grows with every claim: only the process of the last one goes on.
    epoch bigint not null default 0,
    constraint one_active_run_of_a_single_kind unique (single)
) with (fillfactor = 50);

-- The things a run is about, in the order in which they are worked on, and what became of each.
create table bulk_run_items (
    run_id text not null,
    item_no bigint not null,
    action text not null,
    item text not null,
    -- Null until it was worked on.
    outcome text,
    -- Why it was skipped or failed, as a word for programs.
    cause text,
    at timestamptz,
    primary key (run_id, item_no),
    constraint bulk_item_outcome_is_known check (outcome in ('passed', 'qa_failed', 'processing_failed', 'skipped', 'canceled'))
);
create index bulk_run_items_waiting on bulk_run_items (run_id, item_no) where outcome is null;
-- What waits in one run is skipped by others of the same kind.
create unique index bulk_run_items_active on bulk_run_items (action, item) where outcome is null;
