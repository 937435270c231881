//! What is asked about bulk runs, wherever they are.

use serde_json::Value;

use crate::cli::remote::Listed;
use crate::domain::bulk_run::{BulkAction, ItemOutcome};
use crate::projections::reads::Place as ListPlace;

#[derive(clap::Args)]
pub struct Page {
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    pub limit: i64,
    /// Behind this place, which the page before ends with
    #[arg(long, value_name = "PLACE")]
    pub after: Option<ListPlace>,
    /// One JSON object per line instead of text
    #[arg(long)]
    pub json: bool,
}

/// Whether anybody still reads what is told.
pub type Tell<'a> = &'a mut (dyn FnMut(&Value) -> anyhow::Result<bool> + Send);

/// Where it is asked.
pub trait Runs {
    async fn list(&self, action: Option<BulkAction>, active: Option<bool>, page: &Page) -> anyhow::Result<Listed>;
    async fn show(&self, id: &str) -> anyhow::Result<Value>;
    async fn items(&self, id: &str, outcome: Option<ItemOutcome>, page: &Page) -> anyhow::Result<Listed>;
    async fn cancel(&self, id: &str) -> anyhow::Result<Value>;
    /// Tells of the run as it is and as it goes on, until it has ended.
    async fn watch(&self, id: &str, tell: Tell<'_>) -> anyhow::Result<()>;
}
