//! Bulk runs by the routes of a server.

use anyhow::Context as _;
use serde_json::Value;

use super::runs::{Page, Runs, Tell};
use crate::cli::remote::{Listed, Query, Remote, path_of};
use crate::domain::bulk_run::{BulkAction, ItemOutcome};

const PATH: &str = "/data-ops/bulk-runs";

fn after(page: &Page) -> Option<String> {
    page.after.map(|place| place.to_string())
}

impl Runs for Remote {
    async fn list(&self, action: Option<BulkAction>, active: Option<bool>, page: &Page) -> anyhow::Result<Listed> {
        let query = Query::default().and("action", action.map(|action| action.as_str())).and("active", active);
        self.list_of(PATH, &query, page.limit, after(page)).await
    }

    async fn show(&self, id: &str) -> anyhow::Result<Value> {
        self.get(&path_of(PATH, id)).await
    }

    async fn items(&self, id: &str, outcome: Option<ItemOutcome>, page: &Page) -> anyhow::Result<Listed> {
        let query = Query::default().and("outcome", outcome.map(|outcome| outcome.as_str()));
        self.list_of(&format!("{}/items", path_of(PATH, id)), &query, page.limit, after(page)).await
    }

    async fn cancel(&self, id: &str) -> anyhow::Result<Value> {
        self.post(&format!("{}/cancel", path_of(PATH, id)), None).await
    }

    /// A server that restarts meanwhile is waited for: its stream begins with the state of the run.
    async fn watch(&self, id: &str, tell: Tell<'_>) -> anyhow::Result<()> {
        let path = format!("{}/stream", path_of(PATH, id));
        self.follow(&path, None, &mut |frame| {
            if frame.name.as_deref() == Some("ping") {
                return Ok(true);
            }
            let run: Value = serde_json::from_str(&frame.data).context("the server tells something else than a bulk run")?;
            let over = run["finished_at"].is_string();
            Ok(tell(&run)? && !over)
        })
        .await
    }
}
