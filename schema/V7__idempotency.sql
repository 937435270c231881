-- What requests with an `Idempotency-Key` were answered, for a day. Not a read model: no event
-- is needed to give the first answer again.
create table idempotency_keys (
    -- Who asked, and for what: identity, method, path. The same key of somebody else is another key.
    scope text not null,
    key text not null,
    -- The command whose outcome this is; empty for the answer as it was sent.
    step text not null,
    -- SHA-256 over what was asked. Another one under the same key is a mistake of the caller.
    fingerprint bytea not null,
    -- Written with the events of the command, so it is there exactly when the change is.
    outcome jsonb,
    status smallint,
    content_type text,
    body bytea,
    created_at timestamptz not null,
    constraint one_outcome_per_idempotency_key primary key (scope, key, step),
    constraint an_answer_or_an_outcome check ((step = '') = (status is not null))
);
create index idempotency_keys_by_age on idempotency_keys (created_at);
