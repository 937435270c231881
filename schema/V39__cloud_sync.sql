-- Episodes on their way to the cloud. Folded from the streams of the chains, but for what is said to stand beside the log.

create sequence sync_chain_ids;

create table sync_chains (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    episode_id bigint not null,
    episode_public_id text not null,
    factory_id bigint not null,
    organization_id bigint not null,
    reason text not null,
    status text not null,
    priority text not null,
    -- Once it was claimed.
    source_path text,
    -- Once it is there.
    destination_path text,
    bytes_transferred bigint,
    size_bytes bigint not null,
    sha256 text not null,
    -- Of the last attempt.
    duration_sec bigint,
    fault text,
    error_message text,
    -- Why nobody tries any more.
    given_up text,
    attempt_count integer not null,
    next_retry_at timestamptz,
    -- When it was queued, then when it was claimed last.
    started_at timestamptz not null,
    -- When its last attempt ended, well or not.
    completed_at timestamptz,
    approved_at timestamptz,
    -- How far it is with each cloud.
    legs jsonb not null,
    constraint a_sync_status_is_known check (status in ('pending', 'in_progress', 'completed', 'failed'))
);
-- Of an episode the newest chain decides.
create index sync_chains_by_episode on sync_chains (episode_id, id desc);
create unique index one_chain_of_an_episode_is_active on sync_chains (episode_id) where status in ('pending', 'in_progress');
create index sync_chains_by_start on sync_chains (started_at desc, id desc);
create index sync_chains_by_status on sync_chains (status, started_at desc, id desc);
-- What is not over: how much waits, and since when.
create index sync_chains_under_way on sync_chains (created_at) where status in ('pending', 'in_progress') or next_retry_at is not null;

-- What people switch while the server runs; there is one row at most.
create table sync_control (
    id text primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    auto_scan boolean,
    paused jsonb not null,
    revision bigint not null
);

-- Beside the log: how many bytes of a leg the cloud has so far.
create table sync_progress (
    chain_id bigint not null,
    cloud text not null,
    done_bytes bigint not null,
    total_bytes bigint not null,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (chain_id, cloud)
) with (fillfactor = 50);

-- Beside the log: why a cloud gets nothing at the moment, as the process saw it that tried last.
create table cloud_troubles (
    cloud text primary key,
    error text not null,
    since timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp()
);

alter table episodes
    -- None of an approval by a version that did not keep it.
    add column approved_at timestamptz,
    add column cloud_mcap_path text;
-- What is approved and not in the cloud.
create index episodes_to_sync on episodes (id) where qa_status in ('approved', 'inspector_approved') and not cloud_synced;
-- What is in the cloud, and approved no more.
create index episodes_synced_unapproved on episodes (id) where cloud_synced and qa_status not in ('approved', 'inspector_approved');
