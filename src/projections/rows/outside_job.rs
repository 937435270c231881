//! Rows of jobs for checkers elsewhere.

use serde_json::Value;

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::judgement::OutsideReport;
use crate::domain::outside_job::{JobEnd, JobState, NotDoneCause, OutsideJob};
use crate::domain::{EpisodeId, FactoryId, OrganizationId, OutsideJobId, Timestamp};

table! {
    OutsideJobRow in "outside_jobs" by number OutsideJobId {
        episode_id: EpisodeId,
        run: String,
        check_name: String,
        limits: Value,
        suite: String,
        suite_version: i32,
        state: JobState,
        deadline: Timestamp,
        attempts: i32,
        checker: Option<String>,
        lease_until: Option<Timestamp>,
        not_done_cause: Option<NotDoneCause>,
        settled_at: Option<Timestamp>,
        factory_id: FactoryId,
        organization_id: OrganizationId;
        apart report: OutsideReport
    }
}

impl ReadModel for OutsideJob {
    type Row = OutsideJobRow;

    fn shown(state: &Self) -> Shown<OutsideJobRow> {
        let Self::Made(job) = state else { return Shown::Gone };
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let task = &job.task;
        let (report, not_done_cause, settled_at) = match &job.end {
            None => (None, None, None),
            Some(JobEnd::Reported { report, at }) => (Some((**report).clone()), None, Some(*at)),
            Some(JobEnd::NotDone { cause, at }) => (None, Some(*cause), Some(*at)),
        };
        Shown::Row(OutsideJobRow {
            episode_id: task.episode_id,
            run: task.run.clone(),
            check_name: task.check.clone(),
            limits: serde_json::json!(task.limits),
            suite: task.suite.clone(),
            suite_version: number(task.suite_version),
            state: job.state(),
            deadline: task.deadline,
            attempts: number(job.attempts),
            checker: job.claim.as_ref().map(|claim| claim.checker.clone()),
            lease_until: job.claim.as_ref().filter(|_| job.end.is_none()).map(|claim| claim.until),
            not_done_cause,
            settled_at,
            factory_id: task.factory_id,
            organization_id: task.organization_id,
            report,
        })
    }
}
