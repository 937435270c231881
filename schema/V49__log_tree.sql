-- The Merkle tree over the log, kept behind the sequencer, and its heads as they were signed (docs/log-proof.md). Nothing that is appended waits for it.

-- Names the log of this database for others, where no setting does. It goes along where the data goes.
create table log_name (
    id uuid primary key default gen_random_uuid(),
    one boolean not null default true unique,
    constraint a_log_has_one_name check (one)
);
insert into log_name default values;

-- Hashes of the tree, 256 a row: of leaves on level 0, of full tiles of the level below on the others.
create table log_tiles (
    level integer not null,
    number bigint not null,
    hashes bytea not null,
    primary key (level, number),
    constraint tiles_have_1_to_256_hashes check (octet_length(hashes) between 32 and 8192 and octet_length(hashes) % 32 = 0)
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- Hashes cannot be compressed.
alter table log_tiles alter column hashes set storage external;

-- The last tile of a level grows until it is full. What it has, it keeps.
create function refuse_another_tile() returns trigger language plpgsql as $$
begin
    if new.level <> old.level or new.number <> old.number or octet_length(new.hashes) < octet_length(old.hashes)
        or substring(new.hashes from 1 for octet_length(old.hashes)) <> old.hashes then
        raise exception 'tiles of the log only grow' using errcode = 'integrity_constraint_violation';
    end if;
    return new;
end $$;
create trigger tiles_only_grow before update on log_tiles for each row execute function refuse_another_tile();
create trigger tiles_are_never_removed before delete on log_tiles for each row execute function refuse_change();
create trigger tiles_are_never_emptied before truncate on log_tiles for each statement execute function refuse_change();

-- Heads of the tree, each signed once: between any two of them it can be shown that nothing but events was added.
create table log_heads (
    size bigint primary key,
    root bytea not null,
    -- The checkpoint as it was signed, with its signatures.
    note text not null,
    made_at timestamptz not null default clock_timestamp(),
    constraint heads_have_events check (size >= 1),
    constraint a_root_is_a_hash check (octet_length(root) = 32)
);
create trigger heads_are_never_changed before update or delete on log_heads for each row execute function refuse_change();
create trigger heads_are_never_emptied before truncate on log_heads for each statement execute function refuse_change();
revoke update, delete, truncate on log_heads, log_name from public, current_user;
revoke delete, truncate on log_tiles from public, current_user;

-- How much of the tree is in the object store, by the name under which it is there.
create table log_published (
    origin text primary key,
    size bigint not null
);
