//! What the dashboard of quality shows: how episodes were judged, what waits for inspectors and for how long, on which topics messages are
//! missing, and how far inspectors agree.

use super::buckets::Granularity;
use super::counted::{KEPT, Selection};
use super::counted_days::{Bucket, Common, Group, Tally, statements_of};
use super::error::ReadError;
use super::inspection::{PAIRED, SameEpisode};
use super::list::typed;
use super::names::{device, operator, or_empty, sop};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::episode::{InspectionCause, QaStatus};
use crate::domain::words::words;
use crate::domain::{InspectorId, Timestamp};
use crate::projections::packed_days::PackedEpisode;

/// How episodes were judged. Each is in one of `passed`, `failed`, `rejected`, `waiting` and `pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub episodes: i64,
    pub passed: i64,
    /// Of those that passed, by an automatic run.
    pub auto_approved: i64,
    pub failed: i64,
    pub rejected: i64,
    pub waiting: i64,
    pub pending: i64,
}

impl Tally for Judged {
    fn add(&mut self, episode: &PackedEpisode<'_>) {
        self.episodes += 1;
        self.auto_approved += i64::from(episode.auto_approved);
        *match episode.qa_status {
            QaStatus::Approved | QaStatus::InspectorApproved => &mut self.passed,
            QaStatus::Failed => &mut self.failed,
            QaStatus::Rejected => &mut self.rejected,
            QaStatus::NeedsInspection => &mut self.waiting,
            QaStatus::PendingQa | QaStatus::QaRunning => &mut self.pending,
        } += 1;
    }

    fn with(self, others: &Self) -> Self {
        Self {
            episodes: self.episodes + others.episodes,
            passed: self.passed + others.passed,
            auto_approved: self.auto_approved + others.auto_approved,
            failed: self.failed + others.failed,
            rejected: self.rejected + others.rejected,
            waiting: self.waiting + others.waiting,
            pending: self.pending + others.pending,
        }
    }

    fn episodes(&self) -> i64 {
        self.episodes
    }
}

impl Judged {
    /// Of all buckets together.
    pub fn of(buckets: &[Bucket<Self>]) -> Self {
        buckets.iter().fold(Self::default(), |all, bucket| all.with(&bucket.figures))
    }
}

row! {
    /// What waits for an inspector now, for one cause.
    Waiting {
        cause: InspectionCause = "f.cause",
        episodes: i64 = "count(*)",
        oldest_at: Timestamp = "min(f.arrived_at)",
        oldest_age_s: f64 = "greatest(extract(epoch from clock_timestamp() - min(f.arrived_at)), 0)::float8",
    }
}

row! {
    /// What is missing on a topic.
    TopicGaps {
        topic: String = "f.topic",
        episodes: i64 = "count(*)",
        gaps: i64 = "sum(f.gaps)::bigint",
        missing_ms: i64 = "sum(f.missing_ms)::bigint",
        longest_ms: i64 = "max(f.longest_ms)",
        missing_messages: i64 = "sum(f.missing_messages)::bigint",
        by_disk: i64 = "sum(f.by_disk)::bigint",
        by_sensor: i64 = "sum(f.by_sensor)::bigint",
        by_queue: i64 = "sum(f.by_queue)::bigint",
    }
}

row! {
    /// Who inspectors are, by whom they are called.
    Named {
        id: InspectorId = "i.id",
        name: String = "coalesce(i.name, '')",
    }
}

words! {
    /// What episodes of a group have in common.
    #[derive(Default)]
    JudgedBy {
        #[default]
        Reason = "reason",
        Factory = "factory",
        Scene = "scene",
        Sop = "sop",
        /// One binding of a robot and a data collector.
        Workstation = "workstation",
        Robot = "robot",
        Collector = "collector",
    }
}

impl JudgedBy {
    fn common(self) -> Common {
        const DEVICE: &str = or_empty!(device!());
        const OPERATOR: &str = or_empty!(operator!());
        let (key, id, name) = match self {
            Self::Reason => return Common::Word(|episode| episode.reason),
            Self::Factory => {
                ("f.factory_id", "f.factory_id::text", "coalesce((select w.name from factories w where w.id = f.factory_id), '')")
            }
            Self::Scene => ("f.scene_id", "f.scene_id::text", "coalesce(n.name, e.scene_name, '')"),
            Self::Sop => ("f.sop_id", "f.sop_id::text", sop!("f.sop_id", " @ ")),
            Self::Workstation => ("f.station_id", "f.station_id::text", "coalesce(s.name, '')"),
            Self::Robot => ("s.robot_id", DEVICE, DEVICE),
            Self::Collector => ("s.data_collector_id", OPERATOR, "coalesce(c.name, s.collector_name, '')"),
        };
        Common::Thing { key, id, name }
    }
}

/// Whatever the window: what waits, waits now.
fn queue(kept: &str) -> String {
    format!(
        "select {} from (select w.*, $1::timestamptz as happened_at from waiting_episodes w) f where {kept} group by f.cause order by f.cause",
        Waiting::columns()
    )
}

fn topics(kept: &str) -> String {
    format!(
        "select {} from counted_gaps f where {kept} group by f.topic order by sum(f.missing_ms) desc, f.topic collate \"C\"",
        TopicGaps::columns()
    )
}

/// Decisions about one episode beside each other, by when they were made: the second behind the first, but for clocks that differ.
fn same_episodes(kept: &str) -> String {
    format!(
        "select {} from {PAIRED} join counted_episodes c on c.episode_id = second.episode_id \
         cross join lateral (select one.created_at as happened_at, c.episode_id, c.station_id, c.scene_id, c.sop_id, c.robot_type_id, c.factory_id, \
                                    c.organization_id) f \
         where {kept} and second.created_at >= $1::timestamptz - interval '1 day' \
         group by one.inspector_id, one.decision, one.others order by one.inspector_id",
        SameEpisode::columns()
    )
}

fn named() -> String {
    format!("select {} from inspectors i where i.id = any ($1::bigint[])", Named::columns())
}

impl Reads {
    /// The earliest bucket first; empty ones are not there.
    pub async fn judged_trend(&self, selection: &Selection, by: Granularity, minutes_ahead: i64) -> Result<Vec<Bucket<Judged>>, ReadError> {
        self.trend_of(selection, by, minutes_ahead).await
    }

    /// Every group, the largest first.
    pub async fn judged_groups(&self, selection: &Selection, by: JudgedBy) -> Result<Vec<Group<Judged>>, ReadError> {
        self.groups_of(selection, &by.common()).await
    }

    /// What waits now; how it stands and when it was recorded is not asked.
    pub async fn waiting(&self, selection: &Selection) -> Result<Vec<Waiting>, ReadError> {
        self.rows_planned(&queue(&selection.matches_kept()), &selection.parameters_kept()).await
    }

    /// Every topic on which messages are missing, the one with most missing time first.
    pub async fn topics_with_gaps(&self, selection: &Selection) -> Result<Vec<TopicGaps>, ReadError> {
        self.rows_planned(&topics(&selection.matches_kept()), &selection.parameters_kept()).await
    }

    /// Decisions of the window about episodes that two decided about, neither knowing of the other, and who they are.
    pub async fn agreed(&self, selection: &Selection) -> Result<(Vec<SameEpisode>, Vec<Named>), ReadError> {
        let sql = same_episodes(&selection.matches_kept());
        // Few seconds have their firsts looked up: read from end to end, all decisions of all time would be.
        let rows = self.query_pinned(&sql, &typed(&sql, &selection.parameters_kept())).await?;
        let pairs: Vec<SameEpisode> = rows.iter().map(SameEpisode::from_row).collect::<Result<_, _>>()?;
        let mut ids: Vec<i64> = pairs.iter().map(|pair| pair.inspector_id.0).collect();
        ids.dedup();
        let names = self.rows_planned(&named(), &[&ids]).await?;
        Ok((pairs, names))
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    let groups = JudgedBy::ALL.iter().flat_map(|by| statements_of(&by.common())).map(|statement| ("groups of judged episodes", statement));
    let all = [
        ("what waits for inspectors", queue(KEPT)),
        ("topics with gaps", topics(KEPT)),
        ("episodes inspected twice, of a part", same_episodes(KEPT)),
        ("names of inspectors", named()),
    ];
    all.into_iter().chain(groups).collect()
}
