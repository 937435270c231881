-- What waits for a destination, in the order in which it is claimed: Postgres 18 preferred the index by time, which is in that order, and
-- read past all rows for others.
create index outbox_by_destination_due on outbox (subscriber, destination, due_at, outbox_id) where destination is not null;
drop index outbox_by_destination;
