//! Suites by the routes of a server.

use serde_json::Value;

use super::asked::Suites;
use crate::cli::remote::{Query, Remote, path_of};
use crate::domain::QaSuiteId;
use crate::domain::qa_suite::SuiteState;

const PATH: &str = "/qa/suites";

impl Suites for Remote {
    async fn list(&self, state: Option<SuiteState>, name: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let query = Query::default().and("state", state.map(|state| state.as_str())).and("name", name);
        Ok(self.list_of(PATH, &query, i64::MAX, None).await?.items)
    }

    async fn show(&self, id: &str) -> anyhow::Result<Value> {
        self.get(&path_of(PATH, id)).await
    }

    async fn draft(&self, new: &Value) -> anyhow::Result<Value> {
        self.post(PATH, Some(new)).await
    }

    async fn change(&self, id: QaSuiteId, changed: &Value) -> anyhow::Result<Value> {
        self.put(&format!("{PATH}/{id}"), changed).await
    }

    async fn activate(&self, id: QaSuiteId) -> anyhow::Result<Value> {
        self.post(&format!("{PATH}/{id}/activate"), None).await
    }

    async fn retire(&self, id: QaSuiteId) -> anyhow::Result<Value> {
        self.post(&format!("{PATH}/{id}/retire"), None).await
    }

    async fn what_if(&self, id: &str, filter: &Value) -> anyhow::Result<Value> {
        self.post(&format!("{}/what-if", path_of(PATH, id)), Some(filter)).await
    }

    async fn preview_of_apply(&self, id: &str, meant: &Value) -> anyhow::Result<Value> {
        self.post(&format!("{}/apply/preview", path_of(PATH, id)), Some(meant)).await
    }

    async fn apply(&self, id: &str, meant: &Value) -> anyhow::Result<Value> {
        self.post(&format!("{}/apply", path_of(PATH, id)), Some(meant)).await
    }
}
