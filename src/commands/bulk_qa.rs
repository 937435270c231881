//! Bulk runs that judge episodes: which ones they are about, and what was done of them already.

use tokio_postgres::types::ToSql;

use super::bulk_items::list_of;
use super::{CommandError, Work};
use crate::domain::Scope;
use crate::domain::bulk_run::{BulkAction, Item, ItemOutcome, ItemResult};
use crate::domain::episode::EpisodeSelection;
use crate::domain::judgement::Verdict;
use crate::projections::reads::Chosen;

/// The name of the run over one episode: what is done twice under one name is done once.
pub fn run_name(run_id: &str, number: i64) -> String {
    format!("{run_id}/{number}")
}

/// The newest episode first.
fn list(chosen: &Chosen) -> String {
    let (run, action) = (chosen.parameters().len() + 1, chosen.parameters().len() + 2);
    let meant =
        format!("select c.id::text as item, row_number() over (order by c.created_at desc, c.id desc) as n from ({}) c", chosen.sql);
    list_of(&meant, run, action)
}

/// Runs of these names that ended: by number of the item, with the verdict. Each is looked up by itself.
const DONE_BEFORE: &str = "select i.item_no, q.verdict from unnest($2::bigint[], $3::bigint[]) i (item_no, episode_id)
    cross join lateral (select r.verdict from qa_runs r where r.episode_id = i.episode_id and r.run = $1::text || '/' || i.item_no limit 1) q";

/// Lists the episodes that are meant at this moment. Answers how many are meant, and how many wait in this run.
pub(super) async fn list_items(
    work: &mut Work,
    run_id: &str,
    action: BulkAction,
    selection: &EpisodeSelection,
) -> Result<(i64, i64), CommandError> {
    let chosen = Chosen::of(&work.scope, selection);
    let sql = list(&chosen);
    let action = action.as_str();
    let mut parameters = chosen.parameters();
    parameters.extend([&run_id as &(dyn ToSql + Sync), &action]);
    let rows = work.tx.query(&sql, &parameters).await?;
    Ok(rows.first().map_or((0, 0), |row| (row.get(0), row.get(1))))
}

pub(super) async fn done_before(work: &mut Work, run_id: &str, items: &[Item]) -> Result<Vec<ItemResult>, CommandError> {
    let (numbers, episodes): (Vec<i64>, Vec<i64>) =
        items.iter().filter_map(|item| Some((item.number, item.item.parse::<i64>().ok()?))).unzip();
    let rows = work.tx.query(DONE_BEFORE, &[&run_id, &numbers, &episodes]).await?;
    let result = |row: &tokio_postgres::Row| {
        let (outcome, cause) = ItemOutcome::of(row.get::<_, Verdict>(1));
        (row.get(0), outcome, cause)
    };
    Ok(rows.iter().map(result).collect())
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    let everything = Chosen::of(&Scope::Everything, &EpisodeSelection::default());
    vec![("episodes of a bulk run, listed", list(&everything)), ("episodes of a bulk run that were judged", DONE_BEFORE.to_owned())]
}
