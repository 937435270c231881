-- What operators say of recordings, and what is recorded in place of others.

alter table tasks
    -- The last word of the operator on its recording.
    add column operator_word jsonb,
    -- The task that is recorded in its place; its order counts that one, and this one no more.
    add column replaced_by bigint;
-- Few are, and totals of lists count them beside what orders count.
create index tasks_that_were_replaced on tasks (status) where replaced_by is not null;

alter table episodes
    -- The last word of the operator, as judging hears it.
    add column operator_word jsonb;
