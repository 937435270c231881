-- Two programs with one device id: since when, and from where; null where there is one.
alter table devices add column recorder_contest jsonb, add column transfer_contest jsonb;

-- The program that was refused because another one has the connection. Not a read model: it comes back once a minute for as
-- long as it runs, and the contest is over when it has not come for a while.
create table device_rivals (
    device_id text not null,
    kind text not null,
    remote text not null,
    first_seen_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    primary key (device_id, kind)
) with (fillfactor = 70);

-- Whether a task is on its way to a recorder, for those who end it.
create index device_commands_under_way on device_commands (task_id) where status = 'requested';

-- Whose data folder the process holds. Only one process at a time can, so whoever starts with the same folder knows that
-- the one before it is dead. Null in rows of older versions, and of processes without a folder.
alter table processes add column folder text;
