-- Robots that register themselves: their numbers, their tokens, the files they start with.

-- The last number given to a device of a factory and a robot type. Taken in the transaction of the
-- registration, so that one that is rolled back returns it.
create table device_sequences (
    factory_id bigint not null,
    robot_type_id bigint not null,
    last bigint not null,
    primary key (factory_id, robot_type_id)
);

-- Which robots have a token. The hash that a token is compared with stands in `credentials`, never in an event.
create table recorder_tokens (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    fingerprint text not null
);

create table config_templates (
    id text primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    robot_type_id bigint not null, filename text not null,
    -- Null where it was deleted.
    content text
);
create unique index config_templates_by_type on config_templates (robot_type_id, filename);
