-- When a process last found out whether anything can be written. Null in rows of older versions.
alter table processes add column probed_at timestamptz;
