-- What is good of damaged recordings, as files of their own. None of them is an episode.

-- The newest request for each episode.
create table salvages (
    -- That of the episode.
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    state text not null,
    request integer not null,
    reason text not null,
    asked_by text not null,
    asked_at timestamptz not null,
    ended_at timestamptz,
    fault text,
    fault_text text,
    -- Of the newest file that was made, also while another one is.
    object_key text,
    sha256 text,
    size_bytes bigint,
    salvaged jsonb,
    constraint ended_at_iff_not_under_way check ((state = 'under_way') = (ended_at is null)),
    constraint fault_iff_failed check ((state = 'failed') = (fault is not null and fault_text is not null)),
    constraint a_file_is_told_whole check (num_nulls(object_key, sha256, size_bytes, salvaged) in (0, 4))
);
-- Whose file an object is. Episodes with the same content have one file.
create index salvages_by_object on salvages (object_key) where object_key is not null;
