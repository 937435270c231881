//! Versions of suites.

use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::qa_suite::SuiteState;
use crate::domain::{QaSuiteId, Scope};
use crate::projections::rows::qa_suite::QaSuiteRow;

row! {
    SuiteShown of QaSuiteRow as "v" {}
}

fn list() -> ListQuery {
    ListQuery {
        from: "qa_suites v",
        matches: "($1::text is null or v.state = $1) and ($2::text is null or v.name = $2)".into(),
        order: vec![Key::down(KeyType::Number, "v.id")],
        parameters: 2,
        counted: None,
        home: Home::Site,
    }
}

fn get() -> String {
    format!("select {} from qa_suites v where v.id = $1", SuiteShown::columns())
}

impl Reads {
    /// The newest first.
    pub async fn suites(&self, state: Option<SuiteState>, name: Option<&str>, page: Page) -> Result<Listed<SuiteShown>, ReadError> {
        self.listed(&Scope::Everything, list(), &[&state, &name], page).await
    }

    pub async fn suite(&self, id: QaSuiteId) -> Result<Option<SuiteShown>, ReadError> {
        self.row(&get(), &[&id]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("suites", list().select(&SuiteShown::columns())), ("suites, counted", list().count()), ("suite", get())]
}
