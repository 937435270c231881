-- Texts are compared without regard to case and accents, and full-width forms are their plain ones: in
-- uniqueness of names, in `=` filters, in keywords. `ß`, `æ` and `ø` are letters of their own.
-- No extension is needed for that: a compatibility decomposition leaves accents as marks, which go.
create function comparable(given text) returns text language sql immutable strict parallel safe as $$
    select lower(regexp_replace(normalize(given, NFKD), '[\u0300-\u036f]+', '', 'g'))
$$;
create function comparable_all(given text[]) returns text[] language sql immutable strict parallel safe as $$
    select coalesce(array_agg(comparable(item)), '{}') from unnest(given) item
$$;

-- The same rules as before, stricter by accents. Where two names differ by accents only, this fails and
-- names the index: rename one of them and start again.
drop index factory_names_are_unique, organization_names_are_unique, scene_names_are_unique, subscene_names_are_unique_per_scene,
    skill_slug_and_version_are_unique, sop_slug_and_version_are_unique, robot_type_models_are_unique, operator_ids_are_unique,
    order_names_are_unique_per_organization;
create unique index factory_names_are_unique on factories (comparable(name));
create unique index organization_names_are_unique on organizations (comparable(name));
create unique index scene_names_are_unique on scenes (comparable(name));
create unique index subscene_names_are_unique_per_scene on subscenes (scene_id, comparable(name));
create unique index skill_slug_and_version_are_unique on skills (comparable(slug), comparable(skill_version));
create unique index sop_slug_and_version_are_unique on sops (comparable(slug), comparable(sop_version));
create unique index robot_type_models_are_unique on robot_types (comparable(model));
create unique index operator_ids_are_unique on data_collectors (comparable(operator_id));
create unique index order_names_are_unique_per_organization on orders (organization_id, comparable(name));

-- Pages of lists, by filter. Each ends as its list is ordered, so a page is read from the index.
create index orders_by_scene on orders (scene_id);
create index orders_by_comparable_name on orders (comparable(name));
create index orders_by_status on orders (status, id);
create index batches_by_status on batches (status, id);
create index batches_by_organization on batches (organization_id, id);
create index tasks_by_status on tasks (status, created_at, id);
create index tasks_by_comparable_id on tasks (comparable(task_id));
create index tasks_by_scene on tasks (scene_id);
create index tasks_by_sop on tasks (sop_id);
create index episodes_by_comparable_task on episodes (comparable(task_public_id));
create index episodes_by_scene on episodes (scene_id, created_at, id);
create index episodes_by_station on episodes (station_id, created_at, id);
create index episodes_by_qa_status on episodes (qa_status, created_at, id);
create index stations_by_robot on stations (robot_id);
create index stations_by_collector on stations (data_collector_id);
create index stations_by_comparable_serial on stations (comparable(robot_serial));
create index stations_by_comparable_operator on stations (comparable(collector_operator_id));

-- Keywords inside names. Without this extension, which some systems keep in a package of its own, every
-- order is looked at: slower, and otherwise the same.
do $$
begin
    create extension if not exists pg_trgm;
    create index orders_by_parts_of_name on orders using gin (comparable(name) gin_trgm_ops);
exception when others then
    raise notice 'pg_trgm is not available (%): keywords are searched without an index', sqlerrm;
end
$$;
