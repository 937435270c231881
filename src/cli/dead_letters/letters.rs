//! What is asked about dead letters, wherever they are.

use serde_json::Value;

use crate::cli::remote::Listed;
use crate::domain::LetterId;
use crate::domain::letter::LetterFilter;
use crate::projections::reads::Place as ListPlace;

/// How a selection is replayed.
pub struct Again {
    pub selection: String,
    pub causation_depth_max: Option<i32>,
    pub per_second: u32,
}

/// Which abandoned executions.
pub struct Abandoned {
    pub device: Option<String>,
    pub asker: Option<String>,
}

/// Where it is done.
pub trait Letters {
    async fn list(&self, filter: LetterFilter, limit: i64, after: Option<ListPlace>) -> anyhow::Result<Listed>;
    async fn show(&self, id: LetterId) -> anyhow::Result<Value>;
    async fn counts(&self) -> anyhow::Result<Value>;
    async fn replay(&self, id: LetterId, causation_depth_max: Option<i32>) -> anyhow::Result<Value>;
    async fn select(&self, filter: LetterFilter, everything: bool) -> anyhow::Result<Value>;
    /// Some of the selection; the answer says how many are left.
    async fn replay_selection(&self, again: &Again) -> anyhow::Result<Value>;
    async fn accept_run(&self, again: &Again) -> anyhow::Result<Value>;
    /// Executions whose outcome came when their caller had given up.
    async fn abandoned(&self, of: Abandoned, limit: i64, after: Option<ListPlace>) -> anyhow::Result<Listed>;
    async fn resolve(&self, id: LetterId, reason: &str) -> anyhow::Result<()>;
}
