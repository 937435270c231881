-- Where other processes reach this one over HTTP: what only its sockets can tell is asked for there. Null in rows of
-- older versions.
alter table processes add column address text;
