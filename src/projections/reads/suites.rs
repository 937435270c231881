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

/// The suite that is for the episodes of a station by an SOP, by the names of these two in the statement: the one for the SOP, or else for the type of the
/// robot, or else for all.
pub(in crate::projections) fn present(columns: &str, station: &str, sop: &str) -> String {
    format!(
        "select {columns} from qa_suites v where v.state = 'active' and (v.scope_kind = 'all' or (v.scope_kind = 'sop' and v.scope_id = {sop}) \
         or (v.scope_kind = 'robot_type' and v.scope_id = (select r.robot_type_id from stations s join robots r on r.id = s.robot_id where s.id = {station}))) \
         order by array_position(array['sop', 'robot_type', 'all'], v.scope_kind), v.id limit 1"
    )
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
