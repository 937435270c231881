-- What is usual in good recordings of a procedure, and with what each verdict compared.

create sequence qa_reference_ids;

-- Versions of references. None is ever changed; the newest of a procedure and type of robot counts.
create table qa_references (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    sop_id bigint not null,
    -- Null: of all robots that record by the procedure.
    robot_type_id bigint,
    reference_version integer not null,
    -- From how many it was made.
    episodes bigint not null,
    note text,
    learned jsonb not null
);
create index qa_references_by_sop on qa_references (sop_id, id);
create unique index one_reference_per_version on qa_references (sop_id, coalesce(robot_type_id, 0), reference_version);

-- The reference that a verdict was given with; null where there was none.
alter table qa_runs add column reference_id bigint;

-- Whether an earlier episode has the same content.
create index episodes_by_content on episodes (checksum, id);
