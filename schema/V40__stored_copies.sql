-- Copies of recordings: in the edge storage and in clouds.

alter table episodes
    add column edge_copy text not null default 'available',
    -- It is not there, or is being taken away.
    add column edge_copy_gone boolean not null default false,
    -- Since when; none of one that was never removed.
    add column edge_copy_at timestamptz,
    -- None: never since it was verified, or synced.
    add column edge_looked_at timestamptz,
    add column cloud_looked_at timestamptz,
    add column damaged_copies text[] not null default '{}',
    add constraint an_edge_copy_status_is_known check (edge_copy in ('available', 'deleting', 'deleted', 'delete_failed', 'restoring'));

create index episodes_edge_look_due on episodes (coalesce(edge_looked_at, created_at), id) where edge_copy in ('available', 'delete_failed');
create index episodes_cloud_look_due on episodes (coalesce(cloud_looked_at, cloud_synced_at), id) where cloud_synced;
create index episodes_with_edge_copy_synced on episodes (cloud_synced_at, id) where cloud_synced and edge_copy in ('available', 'delete_failed');
create index episodes_by_edge_copy on episodes (edge_copy, created_at desc, id desc) where edge_copy <> 'available';
create index episodes_with_damaged_copies on episodes (created_at desc, id desc) where damaged_copies <> '{}';

-- Beside the log: copies that a process looks at, and those that could not be looked at, until they are tried again.
create table copy_looks (
    episode_id bigint not null,
    place text not null,
    until timestamptz not null,
    primary key (episode_id, place)
);
