-- Beside the log: what is no event and has to be told all the same. Who read what is known of people, who took recordings away, and who was
-- refused (docs/audit.md). Ids and routes only: nobody's name, and no text that was asked for.
create table access_records (
    access_id bigint generated always as identity primary key,
    -- By the clock of the process that answered; written within a moment.
    occurred_at timestamptz not null,
    kind text not null,
    -- As events name who did it, and as who they were logged in.
    actor text not null,
    login text not null,
    role text not null,
    -- Method and pattern of the route.
    action text not null,
    -- What it was about: a kind and an id, as episode/17. None of a list.
    entity text,
    status smallint not null,
    source_address text,
    request_id text not null,
    constraint a_kind_of_access_is_known check (kind in ('read', 'download', 'refusal'))
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- The newest first, whatever is asked for.
create index access_records_by_time on access_records (occurred_at, access_id);
create index access_records_by_kind on access_records (kind, occurred_at, access_id);
create index access_records_by_actor on access_records (actor, occurred_at, access_id);
create index access_records_by_action on access_records (action, occurred_at, access_id);
create index access_records_by_entity on access_records (entity, occurred_at, access_id) where entity is not null;
create index access_records_by_address on access_records (source_address, occurred_at, access_id) where source_address is not null;

-- They are added, and go when they are old (`audit.access_records_kept_hours`, a day at least). Nothing else happens to them.
create function refuse_change_of_access() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and old.occurred_at < clock_timestamp() - interval '1 day' then
        return old;
    end if;
    raise exception 'records of access are never changed, and kept for a day at least' using errcode = 'integrity_constraint_violation';
end $$;
create trigger access_records_are_never_changed before update or delete on access_records
    for each row execute function refuse_change_of_access();
create trigger access_records_are_never_emptied before truncate on access_records
    for each statement execute function refuse_change_of_access();
revoke update, truncate on access_records from public, current_user;
