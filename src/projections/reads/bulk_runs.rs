//! Bulk runs: how far each is, and what became of its items.

use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::bulk_run::{BulkAction, BulkTally, ItemOutcome};
use crate::domain::{Scope, Timestamp};
use crate::projections::rows::bulk_run::BulkRunRow;

row! {
    BulkRunShown of BulkRunRow as "b" {
        begun: Option<Timestamp> = "p.started_at",
        moved: Option<Timestamp> = "p.updated_at",
        passed: Option<i64> = "p.passed",
        qa_failed: Option<i64> = "p.qa_failed",
        processing_failed: Option<i64> = "p.processing_failed",
        skipped: Option<i64> = "p.skipped",
    }
}

impl BulkRunShown {
    pub fn status(&self) -> &'static str {
        match (self.own.ended, self.own.cancel_requested, self.begun) {
            (Some(end), ..) => end.as_str(),
            (None, true, _) => "cancel_requested",
            (None, false, Some(_)) => "running",
            (None, false, None) => "queued",
        }
    }

    /// As far as it is.
    pub fn tally(&self) -> BulkTally {
        BulkTally {
            passed: self.passed.unwrap_or(self.own.passed_count),
            qa_failed: self.qa_failed.unwrap_or(self.own.qa_failed_count),
            processing_failed: self.processing_failed.unwrap_or(self.own.processing_failed_count),
            skipped: self.skipped.unwrap_or(self.own.skipped_count),
        }
    }
}

row! {
    BulkItem {
        item_no: i64 = "i.item_no",
        item: String = "i.item",
        outcome: Option<ItemOutcome> = "i.outcome",
        cause: Option<String> = "i.cause",
        at: Option<Timestamp> = "i.at",
    }
}

row! {
    /// How many items ended like this for the same reason.
    BulkCause {
        outcome: ItemOutcome = "i.outcome",
        cause: String = "i.cause",
        items: i64 = "count(*)",
    }
}

const FROM: &str = "bulk_runs b left join bulk_run_progress p on p.run_id = b.id";

const HOME: Home = Home::Scope { factories: "b.factories", organization: "b.organization_id" };

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: "($1::text is null or b.action = $1) and ($2::boolean is null or (b.ended is null) = $2)".into(),
        // Two runs of one instant are told apart by their ids, which are no numbers.
        order: vec![Key::down(KeyType::Instant, "b.created_at"), Key::down(KeyType::Number, "hashtextextended(b.id, 0)")],
        parameters: 2,
        counted: None,
        home: HOME,
    }
}

fn items() -> ListQuery {
    ListQuery {
        from: "bulk_run_items i",
        matches: "i.run_id = $1::text and ($2::text is null or i.outcome = $2)".into(),
        order: vec![Key::up(KeyType::Number, "i.item_no")],
        parameters: 2,
        counted: None,
        home: Home::Site,
    }
}

fn get() -> String {
    format!("select {} from {FROM} where b.id = $1", BulkRunShown::columns())
}

fn named() -> String {
    format!("select {} from {FROM} where b.id = any ($1)", BulkRunShown::columns())
}

fn causes() -> String {
    format!(
        "select {} from bulk_run_items i where i.run_id = $1 and i.cause is not null group by 1, 2 order by 3 desc, 1, 2",
        BulkCause::columns()
    )
}

impl Reads {
    /// The newest first. `active`: only those that have not ended, or only those that have.
    pub async fn bulk_runs(
        &self,
        scope: &Scope,
        action: Option<BulkAction>,
        active: Option<bool>,
        page: Page,
    ) -> Result<Listed<BulkRunShown>, ReadError> {
        self.listed(scope, list(), &[&action, &active], page).await
    }

    pub async fn bulk_run(&self, scope: &Scope, id: &str) -> Result<Option<BulkRunShown>, ReadError> {
        self.seen(scope, HOME, get(), &[&id]).await
    }

    /// Those of these runs that there are.
    pub async fn bulk_runs_named(&self, ids: &[String]) -> Result<Vec<BulkRunShown>, ReadError> {
        self.rows(&named(), &[&ids]).await
    }

    /// Of a run that the caller sees.
    pub async fn bulk_items(&self, id: &str, outcome: Option<ItemOutcome>, page: Page) -> Result<Listed<BulkItem>, ReadError> {
        self.listed(&Scope::Everything, items(), &[&id, &outcome], page).await
    }

    /// Why items failed or were skipped, the most frequent cause first.
    pub async fn bulk_causes(&self, id: &str) -> Result<Vec<BulkCause>, ReadError> {
        self.rows(&causes(), &[&id]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("bulk runs", list().select(&BulkRunShown::columns())),
        ("bulk runs, counted", list().count()),
        ("bulk run", get()),
        ("bulk runs by id", named()),
        ("items of a bulk run", items().select(&BulkItem::columns())),
        ("items of a bulk run, counted", items().count()),
        ("causes in a bulk run", causes()),
    ]
}
