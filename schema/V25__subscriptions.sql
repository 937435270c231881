-- Subscriptions: what other programs are told of, how far each is in the log, and what was tried.

create sequence subscription_ids;

-- What is known of each, folded from its events.
create table subscriptions (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    description text,
    -- Of where it goes to: the whole URL is in webhook_targets.
    origin text not null,
    -- Types of events, or beginnings of types with a star behind.
    event_types text[] not null,
    factory_id bigint, organization_id bigint,
    delivery jsonb not null,
    -- Why nothing is delivered; null while something is.
    paused text,
    -- Why it is over; null while it is not.
    ended text
);
create index subscriptions_by_age on subscriptions (created_at, id);

-- Beside the log: URLs may be secret.
create table webhook_targets (
    subscription_id bigint primary key,
    url text not null,
    -- Since when nothing was delivered and something failed; null when the last attempt succeeded.
    failing_since timestamptz,
    -- The receiver asked for quiet until then.
    rests_until timestamptz
);

-- Beside the log: what requests are signed with. Several are valid while one replaces another.
create table webhook_secrets (
    subscription_id bigint not null,
    -- The highest one is the newest.
    generation bigint not null,
    -- `whsec_` and base64.
    secret text not null,
    -- Null: until it is replaced.
    expires_at timestamptz,
    primary key (subscription_id, generation)
);

-- How far in the log the rows of each subscription were made. One for the present, and one for each replay, with an end.
create table subscription_cursors (
    cursor_id bigint generated always as identity primary key,
    subscription_id bigint not null,
    -- Everything up to here was looked at.
    position bigint not null,
    -- The last place of a replay.
    until bigint,
    constraint a_cursor_stands_in_the_log check (position >= 0),
    constraint a_replay_has_something_left check (until is null or position < until)
) with (fillfactor = 50);
create unique index one_cursor_for_the_present on subscription_cursors (subscription_id) where until is null;
create index subscription_cursors_of on subscription_cursors (subscription_id);

-- The delivery log: what was tried, and what was left undone when a subscription ended.
create table webhook_attempts (
    attempt_id bigint generated always as identity primary key,
    subscription_id bigint not null,
    -- Where the event is in the log; unknown of one that was left before it was placed.
    position bigint,
    -- `task/17/3`
    event_id text not null,
    event_type text not null,
    -- 1 = the first of this delivery; 0: it was not tried.
    attempt integer not null,
    at timestamptz not null default clock_timestamp(),
    took_ms bigint not null,
    outcome text not null,
    -- Of the answer, where there was one.
    status integer,
    error text,
    -- The beginning of what was answered.
    answer text,
    constraint webhook_outcome_is_known check (outcome in ('delivered', 'failed', 'busy', 'down', 'gone', 'dropped'))
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create index webhook_attempts_of on webhook_attempts (subscription_id, attempt_id);
create index webhook_attempts_at on webhook_attempts (subscription_id, position, attempt_id);
-- What is old goes.
create index webhook_attempts_by_age on webhook_attempts (at);
