//! What the dashboard of quality answers.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::InspectorId;
use crate::domain::agreement::Pairs;
use crate::http::inspection::pairs_of;
use crate::http::production_statistics::AsOf;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::http::words::{GranularityWord, InspectionCauseWord, JudgedByWord};
use crate::projections::reads::buckets::Granularity;
use crate::projections::reads::counted;
use crate::projections::reads::counted_days::{Bucket, Group};
use crate::projections::reads::inspection::SameEpisode;
use crate::projections::reads::quality_dashboard::{Judged, Named, TopicGaps, Waiting};

/// How episodes were judged. Each is in one of `passed`, `failed`, `rejected`, `waiting` and `pending`; rates are shares of `judged`, 0 to 1, and null
/// where nothing was judged.
#[derive(Debug, Serialize, ToSchema)]
pub struct QualityFigures {
    /// All of them.
    episodes: i64,
    /// Approved by the checks or by an inspector.
    passed: i64,
    /// Of these, by an automatic run of the checks: no person looked.
    auto_approved: i64,
    /// Failed their checks, and no inspector decided otherwise.
    failed: i64,
    /// Rejected by an inspector.
    rejected: i64,
    /// Wait for an inspector.
    waiting: i64,
    /// Not judged yet, or being judged.
    pending: i64,
    /// All but the pending ones.
    judged: i64,
    /// The share that passed.
    #[schema(required)]
    pass_rate: Option<f64>,
    /// The share that failed or was rejected.
    #[schema(required)]
    failure_rate: Option<f64>,
    /// The share that was approved without a person.
    #[schema(required)]
    auto_approval_rate: Option<f64>,
}

impl From<Judged> for QualityFigures {
    fn from(counted: Judged) -> Self {
        let Judged { episodes, passed, auto_approved, failed, rejected, waiting, pending } = counted;
        let judged = episodes - pending;
        let share = |part: i64| (judged > 0).then(|| part as f64 / judged as f64);
        Self {
            episodes,
            passed,
            auto_approved,
            failed,
            rejected,
            waiting,
            pending,
            judged,
            pass_rate: share(passed),
            failure_rate: share(failed + rejected),
            auto_approval_rate: share(auto_approved),
        }
    }
}

/// How episodes of a window were judged.
#[derive(Debug, Serialize, ToSchema)]
pub struct QualitySummary {
    /// All together.
    total: QualityFigures,
    /// How long a bucket is.
    #[schema(value_type = GranularityWord)]
    granularity: &'static str,
    /// By time, the earliest first; those with episodes.
    trend: Vec<QualityBucket>,
    /// What waits for an inspector now.
    queue: InspectionQueue,
    /// How far it is counted.
    as_of: AsOf,
}

/// One stretch of time.
#[derive(Debug, Serialize, ToSchema)]
pub struct QualityBucket {
    /// When it begins.
    time: WholeSecond,
    /// What was judged in it.
    #[serde(flatten)]
    figures: QualityFigures,
}

impl QualitySummary {
    pub fn of(by: Granularity, trend: Vec<Bucket<Judged>>, waiting: Vec<Waiting>, as_of: counted::AsOf) -> Self {
        let total = Judged::of(&trend);
        let bucket = |bucket: Bucket<Judged>| QualityBucket { time: bucket.begins_at.into(), figures: bucket.figures.into() };
        Self {
            total: total.into(),
            granularity: by.as_str(),
            trend: trend.into_iter().map(bucket).collect(),
            queue: waiting.into(),
            as_of: as_of.into(),
        }
    }
}

/// What waits for an inspector now.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectionQueue {
    /// How many episodes.
    depth: i64,
    /// When the upload of the oldest was verified; null where none waits.
    #[schema(required)]
    oldest_at: Option<WholeSecond>,
    /// How many seconds ago that was; null where none waits.
    #[schema(required)]
    oldest_age_s: Option<f64>,
    /// By why they wait; those that are.
    causes: Vec<QueuedCause>,
}

/// Episodes that wait for one cause.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueuedCause {
    /// Why they wait.
    #[schema(value_type = InspectionCauseWord)]
    cause: &'static str,
    /// How many.
    depth: i64,
    /// When the upload of the oldest was verified.
    oldest_at: WholeSecond,
}

impl From<Vec<Waiting>> for InspectionQueue {
    fn from(waiting: Vec<Waiting>) -> Self {
        let oldest = waiting.iter().min_by_key(|row| row.oldest_at);
        Self {
            depth: waiting.iter().map(|row| row.episodes).sum(),
            oldest_at: oldest.map(|row| row.oldest_at.into()),
            oldest_age_s: oldest.map(|row| row.oldest_age_s.round()),
            causes: waiting
                .iter()
                .map(|row| QueuedCause { cause: row.cause.as_str(), depth: row.episodes, oldest_at: row.oldest_at.into() })
                .collect(),
        }
    }
}

/// How episodes were judged, by what they have in common.
#[derive(Debug, Serialize, ToSchema)]
pub struct QualityBreakdown {
    /// What that is.
    #[schema(value_type = JudgedByWord)]
    pub dimension: &'static str,
    /// One page of the groups.
    #[serde(flatten)]
    pub page: Paged<QualityGroup>,
    /// How far it is counted.
    pub as_of: AsOf,
}

/// One group.
#[derive(Debug, Serialize, ToSchema)]
pub struct QualityGroup {
    /// What is the same for all of it, as filters take it. By reason, empty for what a machine approved or has not judged.
    id: String,
    /// How people call that.
    name: String,
    /// How it was judged.
    #[serde(flatten)]
    figures: QualityFigures,
}

impl From<Group<Judged>> for QualityGroup {
    fn from(group: Group<Judged>) -> Self {
        Self { id: group.id, name: group.name, figures: group.figures.into() }
    }
}

/// Topics on which messages are missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopicsWithGaps {
    /// One page of them.
    #[serde(flatten)]
    pub page: Paged<TopicWithGaps>,
    /// How far it is counted.
    pub as_of: AsOf,
}

/// A topic on which messages are missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopicWithGaps {
    /// Its name.
    topic: String,
    /// In how many episodes.
    episodes: i64,
    /// In how many intervals.
    gaps: i64,
    /// How long these are together.
    missing_ms: i64,
    /// How long the longest is.
    longest_ms: i64,
    /// About how many messages would have come.
    missing_messages: i64,
    /// Intervals by the guess of why.
    causes: GapCauses,
}

/// How many intervals have which guess of why messages are missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct GapCauses {
    /// All topics are silent at once.
    disk: i64,
    /// This one alone is.
    sensor: i64,
    /// The recorder counted as many dropped.
    queue: i64,
    /// None of these.
    unknown: i64,
}

impl From<TopicGaps> for TopicWithGaps {
    fn from(row: TopicGaps) -> Self {
        let unknown = row.gaps - row.by_disk - row.by_sensor - row.by_queue;
        Self {
            topic: row.topic,
            episodes: row.episodes,
            gaps: row.gaps,
            missing_ms: row.missing_ms,
            longest_ms: row.longest_ms,
            missing_messages: row.missing_messages,
            causes: GapCauses { disk: row.by_disk, sensor: row.by_sensor, queue: row.by_queue, unknown },
        }
    }
}

/// How far inspectors agree.
#[derive(Debug, Serialize, ToSchema)]
pub struct Inspectors {
    /// All of them, each pair of decisions once.
    all: Agreement,
    /// Each that decided about what another one decided about, in the order in which they came.
    items: Vec<InspectorsAgreement>,
    /// How far episodes are counted.
    as_of: AsOf,
}

/// How far decisions about the same episodes agree.
#[derive(Debug, Serialize, ToSchema)]
pub struct Agreement {
    /// Episodes that two decided about, neither knowing of the other.
    inspected_twice: i64,
    /// The share of these on which both agreed.
    #[schema(required)]
    agreement: Option<f64>,
    /// The same beyond chance: Cohen's kappa; null where chance alone gives all of it.
    #[schema(required)]
    kappa: Option<f64>,
}

/// How far one inspector agrees with the others.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectorsAgreement {
    /// Names them in other requests.
    inspector_id: TextId,
    /// For people.
    name: String,
    /// How far.
    #[serde(flatten)]
    agreement: Agreement,
}

impl Agreement {
    fn of(pairs: &Pairs, inspected_twice: i64) -> Self {
        Self { inspected_twice, agreement: pairs.share(), kappa: pairs.kappa() }
    }
}

impl Inspectors {
    pub fn of(found: &[SameEpisode], named: Vec<Named>, as_of: counted::AsOf) -> Self {
        let mut all = Pairs::default();
        found.iter().for_each(|row| all.add(row.own, row.others, row.episodes));
        let mut names: BTreeMap<InspectorId, String> = named.into_iter().map(|named| (named.id, named.name)).collect();
        let item = |(id, pairs): (InspectorId, Pairs)| InspectorsAgreement {
            inspector_id: TextId(id.0),
            name: names.remove(&id).unwrap_or_default(),
            agreement: Agreement::of(&pairs, pairs.count()),
        };
        let items = pairs_of(found).into_iter().map(item).collect();
        // Each pair stands in it twice, once from either side.
        Self { all: Agreement::of(&all, all.count() / 2), items, as_of: as_of.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shares_of_what_was_judged_and_of_nothing_there_is_none() {
        let counted = Judged { episodes: 12, passed: 6, auto_approved: 5, failed: 1, rejected: 1, waiting: 2, pending: 2 };
        let shown = QualityFigures::from(counted);
        assert_eq!((shown.judged, shown.pass_rate, shown.failure_rate, shown.auto_approval_rate), (10, Some(0.6), Some(0.2), Some(0.5)));
        let nothing = QualityFigures::from(Judged { episodes: 2, pending: 2, ..Judged::default() });
        assert_eq!((nothing.judged, nothing.pass_rate, nothing.failure_rate, nothing.auto_approval_rate), (0, None, None, None));
    }
}
