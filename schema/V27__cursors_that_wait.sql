-- So many rows wait for the subscription that no more are made until some are delivered: counted when rows are made, and again while
-- it is so, instead of before every step.
alter table subscription_cursors add column enough_waits boolean not null default false;
