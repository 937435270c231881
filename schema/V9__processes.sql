-- The servers that share this database. Each renews its lease; the sockets of one whose lease ended are
-- closed in the streams of their devices by whoever notices.
create table processes (
    id uuid primary key,
    -- Host and process id, for people.
    name text not null,
    started_at timestamptz not null default clock_timestamp(),
    lease_until timestamptz not null,
    -- Set once its lease was found to be over, or when it stopped in order.
    ended_at timestamptz
);

-- Which process holds the present socket. Null in rows of older versions.
alter table devices add column recorder_process uuid, add column transfer_process uuid;
