-- One delivery per event, subscriber and destination: an event may go to several destinations of one subscriber, and
-- what waits for one of them holds up no other. Programs of the version before name no constraint when they insert,
-- and find the rows of a stream by the beginning of the new index.
alter table outbox
    add constraint one_delivery_per_event_subscriber_and_destination unique nulls not distinct (event_seq, subscriber, destination),
    drop constraint one_delivery_per_event_and_subscriber;

-- Order is kept per stream and destination.
create index outbox_in_order on outbox (subscriber, stream_key, coalesce(destination, ''), outbox_id);
drop index outbox_by_stream;
create index dead_letters_in_order on dead_letters (subscriber, stream_key, coalesce(destination, ''))
    where resolved_at is null and blocks_stream;
drop index dead_letters_blocking;
