-- Read models: rows folded from streams, in the transaction of the events. Each row is the
-- state of one stream at `version`; nothing else writes here, and all of it can be rebuilt.

create table factories (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    name text not null, slug text not null, location text, timezone text not null, settings jsonb
);
create unique index factory_names_are_unique on factories (lower(name));

create table organizations (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    factory_id bigint not null, name text not null, slug text not null, description text, settings jsonb
);
create unique index organization_names_are_unique on organizations (lower(name));
create index organizations_by_factory on organizations (factory_id);

create table scenes (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    factory_id bigint not null, name text not null, description text, initial_scene_layout_template text
);
create unique index scene_names_are_unique on scenes (lower(name));
create index scenes_by_factory on scenes (factory_id);

create table subscenes (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    scene_id bigint not null, name text not null, description text, initial_scene_layout text
);
create unique index subscene_names_are_unique_per_scene on subscenes (scene_id, lower(name));

create table skills (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    slug text not null, skill_version text not null, description text, metadata jsonb
);
create unique index skill_slug_and_version_are_unique on skills (lower(slug), lower(skill_version));

create table sops (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    slug text not null, sop_version text not null, description text, skill_sequence bigint[] not null
);
create unique index sop_slug_and_version_are_unique on sops (lower(slug), lower(sop_version));

create table robot_types (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    name text not null, model text not null, manufacturer text, end_effector text,
    sensor_suite jsonb not null, capabilities jsonb not null, ros_topics text[] not null
);
create unique index robot_type_models_are_unique on robot_types (lower(model));

create table robots (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    robot_type_id bigint not null, factory_id bigint not null, device_id text not null, asset_id text,
    status text not null, metadata jsonb not null
);
create unique index device_ids_are_unique on robots (device_id);
create index robots_by_type on robots (robot_type_id);

create table data_collectors (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    organization_id bigint not null, name text not null, operator_id text not null, email text,
    certification text, status text not null, metadata jsonb not null
);
create unique index operator_ids_are_unique on data_collectors (lower(operator_id));

create table stations (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    name text not null, robot_id bigint not null, robot_name text not null, robot_serial text not null,
    data_collector_id bigint not null, collector_name text not null, collector_operator_id text not null,
    factory_id bigint not null, organization_id bigint not null, status text not null, metadata jsonb not null,
    is_current boolean not null, superseded_by bigint
);
create unique index one_current_station_per_robot on stations (robot_id) where is_current;
create unique index one_current_station_per_collector on stations (data_collector_id) where is_current;

create table orders (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    organization_id bigint not null, scene_id bigint not null, name text not null, target_count bigint not null,
    priority text not null, deadline timestamptz, metadata jsonb, status text not null,
    task_count bigint not null, completed_count bigint not null, failed_count bigint not null, cancelled_count bigint not null
) with (fillfactor = 80);
create unique index order_names_are_unique_per_organization on orders (organization_id, lower(name));

create table batches (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    batch_id text not null, order_id bigint not null, station_id bigint not null, organization_id bigint not null,
    notes text, metadata jsonb, status text not null,
    task_count bigint not null, completed_count bigint not null, failed_count bigint not null, cancelled_count bigint not null,
    episode_count bigint not null, started_at timestamptz, ended_at timestamptz,
    constraint batch_ids_are_unique_per_order unique (order_id, batch_id)
) with (fillfactor = 80);
create index batches_by_station on batches (station_id, status);

create table tasks (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    task_id text not null, batch_id bigint not null, order_id bigint not null, station_id bigint not null,
    sop_id bigint not null, scene_id bigint not null, scene_name text not null,
    subscene_id bigint not null, subscene_name text not null, initial_scene_layout text not null,
    factory_id bigint not null, organization_id bigint not null, status text not null, error_message text,
    ready_at timestamptz, started_at timestamptz, completed_at timestamptz, episode_id bigint,
    constraint task_ids_are_unique unique (task_id)
) with (fillfactor = 80);
create index tasks_by_batch on tasks (batch_id, created_at, id);
create index tasks_by_creation on tasks (created_at, id);
create index tasks_by_station on tasks (station_id, created_at, id);

create table episodes (
    id bigint primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    episode_id text not null, task_id bigint not null, task_public_id text not null, batch_id bigint not null,
    order_id bigint not null, station_id bigint not null, sop_id bigint not null,
    scene_id bigint not null, scene_name text not null, subscene_id bigint not null, subscene_name text not null,
    factory_id bigint not null, organization_id bigint not null,
    mcap_path text not null, sidecar_path text, checksum text not null, file_size_bytes bigint not null, etag text,
    duration_sec double precision, message_count bigint not null, metadata jsonb,
    qa_status text not null, qa_score double precision, quality_flag text, auto_approved boolean not null,
    cloud_synced boolean not null, cloud_processed boolean not null, cloud_synced_at timestamptz, labels text[] not null,
    constraint episode_ids_are_unique unique (episode_id),
    constraint one_episode_per_task unique (task_id),
    constraint one_episode_per_object unique (mcap_path)
);
create index episodes_by_creation on episodes (created_at, id);

create table devices (
    id text primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    recorder_epoch bigint not null, recorder_open boolean not null, recorder_since timestamptz,
    transfer_epoch bigint not null, transfer_open boolean not null, transfer_since timestamptz,
    observed_state text, observed_task text
) with (fillfactor = 70);

-- The outcome of each command to a device, for whoever waits for it. Written with the events of
-- its device's stream; a row can go when nobody can be waiting any more.
create table device_commands (
    id text primary key, version bigint not null, created_at timestamptz not null, updated_at timestamptz not null,
    device_id text not null, action text not null, task_id text,
    status text not null, message text, data jsonb
) with (fillfactor = 80);

-- Not a read model: secrets never enter events, so they live beside them.
create table credentials (
    subject text not null,
    subject_id bigint not null,
    password_hash text not null,
    changed_at timestamptz not null default clock_timestamp(),
    primary key (subject, subject_id)
);

create sequence factory_ids; create sequence organization_ids; create sequence scene_ids; create sequence subscene_ids;
create sequence skill_ids; create sequence sop_ids; create sequence robot_type_ids; create sequence robot_ids;
create sequence data_collector_ids; create sequence station_ids; create sequence order_ids; create sequence batch_ids;
create sequence task_ids; create sequence episode_ids;
