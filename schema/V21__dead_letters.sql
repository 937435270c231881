-- Dead letters in people's hands. A letter that was resolved by hand, or by a program of the version before, has no `resolution`
-- and counts as resolved.
alter table dead_letters
    add column resolution text,
    -- Where the delivery stood in the order of its stream, and its last claim; unknown of letters of the version before.
    add column outbox_id bigint,
    add column epoch bigint,
    add constraint letter_resolution_is_known check (resolution in ('replayed', 'resolved')),
    add constraint only_what_is_resolved_has_a_resolution check (resolution is null or resolved_at is not null);

-- Set by a replay of a letter whose chain of causes was too long: how long it may be this time.
alter table outbox add column causation_depth_max integer;

-- What people did about each letter.
create table dead_letter_acts (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    replays bigint not null,
    -- Why it was resolved without a delivery.
    resolved_because text
);

-- Pages, newest death first, by whatever is asked for.
create index dead_letters_by_death on dead_letters (died_at, dead_letter_id);
create index dead_letters_unresolved on dead_letters (died_at, dead_letter_id) where resolved_at is null;
create index dead_letters_by_subscriber on dead_letters (subscriber, died_at, dead_letter_id);
create index dead_letters_by_destination on dead_letters (destination, died_at, dead_letter_id) where destination is not null;
create index dead_letters_by_stream on dead_letters (stream_key, died_at, dead_letter_id);
-- Finds the letter of a delivery that dies again.
create index dead_letters_by_event on dead_letters (event_seq);
-- What is old goes.
create index dead_letters_resolved on dead_letters (resolved_at) where resolved_at is not null;
