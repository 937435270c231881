-- What a person asked for through the outbox, beside the log: who asked, and whether a caller waits for the outcome, which stands in
-- the read model of what was asked (`device_commands`, under the same id). Swept after a while.
create table requests (
    id text primary key,
    -- The order in which they are listed.
    request_no bigint generated always as identity,
    asker text not null,
    device_id text not null,
    asked_at timestamptz not null,
    -- The process whose caller waits. Should it die, the caller has given up.
    waited_by uuid,
    -- When the caller was left without an outcome.
    given_up_at timestamptz,
    -- What the device answered after its outcome was settled as unknown.
    late_status text,
    late_message text,
    late_data jsonb,
    late_at timestamptz,
    constraint a_late_answer_has_a_time check ((late_status is null) = (late_at is null))
    -- Callers stop waiting without a touch of any index.
) with (fillfactor = 85);
create unique index requests_by_number on requests (request_no);
create index requests_by_device on requests (device_id, request_no);
create index requests_by_asker on requests (asker, request_no);
create index requests_given_up on requests (request_no) where given_up_at is not null;
