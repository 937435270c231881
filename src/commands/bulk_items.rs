//! The things that a bulk run is about, listed when it is accepted.

/// Things that wait in another run of the same kind are skipped.
const SKIPPED_BECAUSE: &str = "active_in_another_run";

/// Lists what is meant (`item`, and its number `n`) as items of a run, and answers how many are meant, and how many wait in it. The numbers are
/// those of the parameters that name the run and its action.
pub(super) fn list_of(meant: &str, run: usize, action: usize) -> String {
    format!(
        "with meant as ({meant}), listed as (
            insert into bulk_run_items (run_id, item_no, action, item)
            select ${run}::text, n, ${action}::text, item from meant order by n on conflict do nothing returning item_no),
        skipped as (
            insert into bulk_run_items (run_id, item_no, action, item, outcome, cause, at)
            select ${run}::text, n, ${action}::text, item, 'skipped', '{SKIPPED_BECAUSE}', clock_timestamp() from meant
            where not exists (select from listed l where l.item_no = n))
        select (select count(*) from meant) as meant, (select count(*) from listed) as listed"
    )
}
