-- What is known of a person, beside the log: events name people by number only. Deleting a row here forgets the person;
-- the log stays as it is. Read models hold copies, taken when their rows are written.
create table people (
    -- What kind of person, as in `credentials`.
    subject text not null,
    subject_id bigint not null,
    name text not null,
    operator_id text,
    email text,
    changed_at timestamptz not null default clock_timestamp(),
    primary key (subject, subject_id)
);

-- Those whom events of older versions name: their rows have it.
insert into people (subject, subject_id, name, operator_id, email)
select 'data_collector', id, name, operator_id, email from data_collectors;
