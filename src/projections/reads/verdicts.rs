//! Verdicts, in the order of the log and as they stand: the source of the streams of stations.

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::episode::{QaStatus, RunMode};
use crate::domain::judgement::Verdict;
use crate::domain::{EpisodeId, FactoryId, OrganizationId, PublicTaskId, StationId, TaskId, Timestamp};

/// Positions that one look covers, whatever else stands at them.
pub const WINDOW: i64 = 500;

row! {
    /// What a run said of an episode. Of the episode, how it stands by now.
    VerdictGiven {
        position: i64 = "l.position",
        run: i64 = "q.id",
        at: Timestamp = "q.created_at",
        mode: RunMode = "q.mode",
        suite: String = "q.suite",
        suite_version: i32 = "q.suite_version",
        verdict: Verdict = "q.verdict",
        kept: bool = "q.kept",
        score: f64 = "q.score",
        flag: Option<String> = "q.flag",
        episode: EpisodeId = "p.id",
        episode_id: String = "p.episode_id",
        task: TaskId = "p.task_id",
        task_id: PublicTaskId = "p.task_public_id",
        station: StationId = "p.station_id",
        factory: FactoryId = "p.factory_id",
        organization: OrganizationId = "p.organization_id",
        qa_status: QaStatus = "p.qa_status",
    }
}

fn between() -> String {
    format!(
        "select {} from log l join events e on e.seq = l.seq join qa_runs q on q.id = (e.payload -> 'qa_run_ended' ->> 'number')::bigint \
         join episodes p on p.id = q.episode_id \
         where l.position > $1 and l.position <= $2 and e.aggregate_type = 'episode' and e.event_type = 'qa_run_ended' order by l.position",
        VerdictGiven::columns()
    )
}

/// The last run of each of the newest episodes of a station, oldest first.
fn newest() -> String {
    let columns = VerdictGiven::columns().replacen("l.position", "0::bigint", 1);
    format!(
        "select {columns} from (select * from episodes where station_id = $1 order by created_at desc, id desc limit $2) p \
         cross join lateral (select * from qa_runs r where r.episode_id = p.id order by r.id desc limit 1) q order by q.id"
    )
}

impl Reads {
    /// What was said after one position and up to another, at most [`WINDOW`] later.
    pub async fn verdicts(&self, after: i64, upto: i64) -> Result<Vec<VerdictGiven>, ReadError> {
        self.rows(&between(), &[&after, &upto]).await
    }

    /// What was said last of the newest episodes of a station; their positions are not read.
    pub async fn newest_verdicts(&self, station: StationId, most: i64) -> Result<Vec<VerdictGiven>, ReadError> {
        self.rows(&newest(), &[&station, &most]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("verdicts", between()), ("newest verdicts of a station", newest())]
}
