//! Versions of references.

use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::reference::Reference;
use crate::domain::{QaReferenceId, RobotTypeId, Scope, SopId, Timestamp};
use crate::projections::rows::reference::QaReferenceRow;

row! {
    /// Without what was learned: that is some kilobytes.
    ReferenceShown of QaReferenceRow as "v" {}
}

row! {
    LearnedReference {
        id: QaReferenceId = "v.id",
        created_at: Timestamp = "v.created_at",
        learned: Reference = "v.learned",
    }
}

fn list() -> ListQuery {
    ListQuery {
        from: "qa_references v",
        matches: "($1::bigint is null or v.sop_id = $1) and ($2::bigint is null or v.robot_type_id = $2)".into(),
        order: vec![Key::down(KeyType::Number, "v.id")],
        parameters: 2,
        counted: None,
        home: Home::Site,
    }
}

fn get() -> String {
    format!("select {} from qa_references v where v.id = $1", LearnedReference::columns())
}

fn newest() -> String {
    let columns = LearnedReference::columns();
    format!(
        "select distinct on (v.sop_id, v.robot_type_id) {columns} from qa_references v where $1::bigint is null or v.sop_id = $1 \
         order by v.sop_id, v.robot_type_id, v.id desc"
    )
}

impl Reads {
    /// The newest first.
    pub async fn references(
        &self,
        sop: Option<SopId>,
        robot_type: Option<RobotTypeId>,
        page: Page,
    ) -> Result<Listed<ReferenceShown>, ReadError> {
        self.listed(&Scope::Everything, list(), &[&sop, &robot_type], page).await
    }

    pub async fn reference(&self, id: QaReferenceId) -> Result<Option<LearnedReference>, ReadError> {
        self.row(&get(), &[&id]).await
    }

    /// The newest of each procedure and type of robot, or of those of one procedure.
    pub async fn newest_references(&self, sop: Option<SopId>) -> Result<Vec<LearnedReference>, ReadError> {
        self.rows(&newest(), &[&sop]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("references", list().select(&ReferenceShown::columns())),
        ("references, counted", list().count()),
        ("reference", get()),
        ("newest references", newest()),
    ]
}
