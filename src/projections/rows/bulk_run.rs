//! Rows of bulk runs.

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::bulk_run::{Active, BulkAction, BulkEnd, BulkRun, BulkTally};
use crate::domain::{FactoryId, OrganizationId, Timestamp};

table! {
    BulkRunRow in "bulk_runs" by text String {
        action: BulkAction,
        total_count: i64,
        cancel_requested: bool,
        ended: Option<BulkEnd>,
        passed_count: i64,
        qa_failed_count: i64,
        processing_failed_count: i64,
        skipped_count: i64,
        started_at: Option<Timestamp>,
        error_message: Option<String>,
        factories: Option<Vec<FactoryId>>,
        organization_id: Option<OrganizationId>,
    }
}

impl ReadModel for BulkRun {
    type Row = BulkRunRow;

    fn shown(state: &Self) -> Shown<BulkRunRow> {
        let (work, scope, total_count, cancel_requested, ended, tally, started_at, error_message) = match state {
            Self::Absent => return Shown::Gone,
            Self::Active(Active { work, scope, total, cancel_requested }) => {
                (work, scope, *total, *cancel_requested, None, BulkTally::default(), None, None)
            }
            Self::Ended { work, scope, total, cancel_requested, end, tally, started_at, error } => {
                (work, scope, *total, *cancel_requested, Some(*end), *tally, *started_at, error.clone())
            }
        };
        let (factories, organization_id) = scope.parts();
        Shown::Row(BulkRunRow {
            action: work.action(),
            total_count,
            cancel_requested,
            ended,
            passed_count: tally.passed,
            qa_failed_count: tally.qa_failed,
            processing_failed_count: tally.processing_failed,
            skipped_count: tally.skipped,
            started_at,
            error_message,
            factories,
            organization_id,
        })
    }
}
