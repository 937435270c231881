-- What who asked for a bulk run saw, as its event says: those who see that much see the run (docs/bulk-runs.md). Runs that were accepted before
-- are about the whole site.
alter table bulk_runs
    -- Null: the whole site.
    add column factories bigint[],
    -- Where it was one organization of a factory.
    add column organization_id bigint,
    add constraint an_organization_of_a_run_is_in_one_factory check (organization_id is null or cardinality(factories) = 1);

-- Who signed in and how, whose sessions were ended, and who chose another password: beside the log as reads are (docs/audit.md).
alter table access_records
    -- Of a login, how it was proven.
    add column login_method text,
    drop constraint a_kind_of_access_is_known,
    -- What is there was held against narrower ones: nothing has to be looked at again.
    add constraint a_kind_of_access_is_known
        check (kind in ('read', 'download', 'refusal', 'login', 'session_end', 'password_change')) not valid,
    add constraint a_login_and_nothing_else_has_a_method check ((kind = 'login') = (login_method is not null)) not valid;
