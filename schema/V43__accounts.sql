-- Accounts of people who belong to no organization, API keys of programs, and sessions.

create sequence account_ids;
create sequence api_key_ids;

-- Who they are stands in `people`; this is a copy, as of every person.
create table accounts (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    role text not null,
    -- Those it is for; null: the whole site.
    factories bigint[],
    status text not null,
    name text,
    login_name text,
    email text
);
create unique index login_names_are_unique on accounts (comparable(login_name));

-- Hashes of the keys stand in `credentials`.
create table api_keys (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    name text not null,
    role text not null,
    factories bigint[],
    expires_at timestamptz,
    revoked_at timestamptz
);

-- When a key was shown last, and from where: noted once a minute at most.
create table api_key_uses (
    api_key_id bigint primary key,
    last_used_at timestamptz not null,
    address text
) with (fillfactor = 50);

-- Each login is one. Kept until its token opens nothing any more.
create table sessions (
    id bigint generated always as identity primary key,
    -- Whose, as in `credentials`.
    subject text not null,
    subject_id bigint not null,
    started_at timestamptz not null,
    expires_at timestamptz not null,
    address text,
    ended_at timestamptz
);
create index sessions_by_subject on sessions (subject, subject_id, id);
create index sessions_by_end on sessions (expires_at);
