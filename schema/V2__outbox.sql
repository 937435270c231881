-- What has to be sent: one row per event and subscriber, inserted with the event.

create table outbox (
    outbox_id bigint generated always as identity primary key,
    subscriber text not null,
    -- events.seq of the event to deliver.
    event_seq bigint not null,
    -- The stream the event belongs to: subscribers that want order get one row per stream at a time.
    stream_key text not null,
    -- Whom it goes to, where only some processes can reach it (a device's socket).
    destination text,
    -- Links of the chain command → event → command … behind the event.
    causation_depth integer not null,
    -- Immutable while rows are claimed; only a retry moves it.
    due_at timestamptz not null default clock_timestamp(),
    -- After this instant delivering makes no sense any more.
    expires_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    -- Counted when claimed: a crash is an attempt, an orderly stop is not.
    attempt integer not null default 0,
    -- Grows with every claim: only the worker of the last claim may settle the row.
    epoch bigint not null default 0,
    -- While in the future, one dispatcher works on this row. A lease saves double work, it
    -- does not rule it out: every subscriber may hear an event twice.
    leased_until timestamptz,
    leased_by text,
    -- Time and error of every attempt that failed.
    failures jsonb not null default '[]',
    constraint one_delivery_per_event_and_subscriber unique (event_seq, subscriber)
) with (
    -- Claims update rows in place (HOT) and deliveries delete them: room on the page, and vacuum often.
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05
);
-- No column that a claim updates is indexed.
create index outbox_due on outbox (subscriber, due_at, outbox_id);
create index outbox_by_stream on outbox (subscriber, stream_key, outbox_id);
create index outbox_by_destination on outbox (subscriber, destination, due_at) where destination is not null;

-- Deliveries that were given up, with everything that was tried.
create table dead_letters (
    dead_letter_id bigint generated always as identity primary key,
    subscriber text not null,
    event_seq bigint not null,
    stream_key text not null,
    destination text,
    causation_depth integer not null,
    reason text not null,
    attempts integer not null,
    failures jsonb not null,
    queued_at timestamptz not null,
    died_at timestamptz not null default clock_timestamp(),
    -- Later deliveries of the same stream wait until this one is resolved.
    blocks_stream boolean not null,
    resolved_at timestamptz,
    constraint dead_letter_reason_is_known check (reason in ('attempts_used_up', 'permanent_error', 'expired', 'causation_too_deep'))
);
create index dead_letters_open on dead_letters (subscriber, died_at) where resolved_at is null;
create index dead_letters_blocking on dead_letters (subscriber, stream_key) where resolved_at is null and blocks_stream;
