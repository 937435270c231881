//! What is asked about suites, wherever they are.

use serde_json::Value;

use crate::domain::QaSuiteId;
use crate::domain::qa_suite::SuiteState;

/// Where it is done. What is given and answered is the JSON of the routes.
pub trait Suites {
    async fn list(&self, state: Option<SuiteState>, name: Option<&str>) -> anyhow::Result<Vec<Value>>;
    /// `default` is the shipped one.
    async fn show(&self, id: &str) -> anyhow::Result<Value>;
    async fn draft(&self, new: &Value) -> anyhow::Result<Value>;
    async fn change(&self, id: QaSuiteId, changed: &Value) -> anyhow::Result<Value>;
    async fn activate(&self, id: QaSuiteId) -> anyhow::Result<Value>;
    async fn retire(&self, id: QaSuiteId) -> anyhow::Result<Value>;
    async fn what_if(&self, id: &str, filter: &Value) -> anyhow::Result<Value>;
    async fn preview_of_apply(&self, id: &str, meant: &Value) -> anyhow::Result<Value>;
    async fn apply(&self, id: &str, meant: &Value) -> anyhow::Result<Value>;
}
