-- When a task reached its end, whichever it was. `completed_at` keeps the meaning it has on the wire.
alter table tasks add column ended_at timestamptz;
update tasks set ended_at = completed_at where completed_at is not null;

-- Recalling a batch labels its episodes.
create index episodes_by_batch on episodes (batch_id);
