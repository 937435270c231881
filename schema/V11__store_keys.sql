-- The public half of the key to the object store that a robot got with its token. Null where the robot was registered
-- before robots had keys of their own, or where the store is not ours: such a robot uses what it was configured with.
alter table recorder_tokens add column store_key text;
create unique index robots_by_store_key on recorder_tokens (store_key) where store_key is not null;
