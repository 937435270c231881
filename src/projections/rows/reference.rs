//! Rows of references.

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::reference::{QaReference, Reference};
use crate::domain::{QaReferenceId, RobotTypeId, SopId};

table! {
    QaReferenceRow in "qa_references" by number QaReferenceId {
        sop_id: SopId,
        robot_type_id: Option<RobotTypeId>,
        reference_version: i32,
        episodes: i64,
        note: Option<String>;
        apart learned: Reference
    }
}

impl ReadModel for QaReference {
    type Row = QaReferenceRow;

    fn shown(state: &Self) -> Shown<QaReferenceRow> {
        let Self::Made(reference) = state else { return Shown::Gone };
        Shown::Row(QaReferenceRow {
            sop_id: reference.sop_id,
            robot_type_id: reference.robot_type_id,
            reference_version: i32::try_from(reference.version).unwrap_or(i32::MAX),
            episodes: i64::try_from(reference.made_from.episodes).unwrap_or(i64::MAX),
            note: reference.note.clone(),
            learned: Some((**reference).clone()),
        })
    }
}
