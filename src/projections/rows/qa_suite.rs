//! Rows of suites.

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::judgement::Suite;
use crate::domain::qa_suite::{QaSuite, ScopeKind, SuiteState};
use crate::domain::{QaSuiteId, Timestamp};

table! {
    QaSuiteRow in "qa_suites" by number QaSuiteId {
        name: String,
        suite_version: i32,
        scope_kind: ScopeKind,
        scope_id: Option<i64>,
        state: SuiteState,
        note: Option<String>,
        activated_at: Option<Timestamp>,
        retired_at: Option<Timestamp>,
        rules: Suite,
    }
}

impl ReadModel for QaSuite {
    type Row = QaSuiteRow;

    fn shown(state: &Self) -> Shown<QaSuiteRow> {
        let Self::Version(version) = state else { return Shown::Gone };
        Shown::Row(QaSuiteRow {
            name: version.suite.name.clone(),
            suite_version: i32::try_from(version.suite.version).unwrap_or(i32::MAX),
            scope_kind: version.scope.kind(),
            scope_id: version.scope.id(),
            state: version.state,
            note: version.note.clone(),
            activated_at: version.activated_at,
            retired_at: version.retired_at,
            rules: version.suite.clone(),
        })
    }
}
