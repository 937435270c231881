//! Which episodes statistics are asked about, and how far behind the log they are counted.
//!
//! Filters are meant as things are called now: a name is looked up here, and what is counted goes by what never changes.

use std::ops::Range;

use tokio_postgres::types::ToSql;

use super::error::ReadError;
use super::home::{Home, Within};
use super::list::{Parameter, typed};
use super::names::{device, operator};
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use crate::domain::episode::QaStatus;
use crate::domain::storable::can_be_stored;
use crate::domain::{CollectorId, FactoryId, RobotTypeId, SceneId, Scope, SopId, StationId, Timestamp};
use crate::projections::packed_days::PackedEpisode;

/// Which episodes. What is not given excludes nothing.
#[derive(Clone, Debug)]
pub struct CountedFilter {
    /// They happened at this instant or later,
    pub from: Timestamp,
    /// and before this one.
    pub until: Timestamp,
    pub scenes: Option<Vec<SceneId>>,
    pub robot_types: Option<Vec<RobotTypeId>>,
    pub sops: Option<Vec<SopId>>,
    pub qa_statuses: Option<Vec<QaStatus>>,
    pub cloud_synced: Option<bool>,
    pub devices: Option<Vec<String>>,
    pub operators: Option<Vec<String>>,
    pub source: Option<String>,
    pub factories: Option<Vec<FactoryId>>,
    /// Each one binding of a robot and a data collector.
    pub workstations: Option<Vec<StationId>>,
    /// Why a machine alone did not approve them.
    pub reasons: Option<Vec<String>>,
    /// The id that devices know.
    pub task: Option<String>,
    /// Recorded by this person, whatever they were called.
    pub collector: Option<CollectorId>,
}

row! {
    /// How far statistics are.
    AsOf {
        /// Every event up to this place of the log is counted.
        position: i64 = "c.position",
        /// For how long the oldest event that is not counted has been waiting.
        behind_s: f64 = "coalesce((select extract(epoch from clock_timestamp() - e.recorded_at)::float8 from log l join events e on e.seq = l.seq \
                                   where l.position = c.position + 1), 0)",
    }
}

fn as_of() -> String {
    format!("select {} from statistics_cursor c", AsOf::columns())
}

/// The device as it is called now; where the robot is gone, as it was called when it was bound.
const STATIONS: &str = concat!(
    "select s.id from stations s left join robots r on r.id = s.robot_id left join data_collectors c on c.id = s.data_collector_id \
     where ($1::text[] is null or comparable(",
    device!(),
    ") = any(comparable_all($1))) and ($2::text[] is null or comparable(",
    operator!(),
    ") = any(comparable_all($2))) and ($3::text is null or comparable(",
    device!(),
    ") = comparable($3)) and ($4::bigint is null or s.data_collector_id = $4) and ($5::bigint[] is null or s.id = any($5))"
);

const EPISODE: &str = "select e.id from tasks t join episodes e on e.task_id = t.id where t.task_id = $1::text";

/// Of rows `f`: whose an episode is. `$3` to `$7` are those of [`Selection::parameters`].
macro_rules! identities {
    () => {
        "($3::bigint[] is null or f.scene_id = any($3)) and ($4::bigint[] is null or f.robot_type_id = any($4)) \
         and ($5::bigint[] is null or f.sop_id = any($5)) and ($6::bigint[] is null or f.factory_id = any($6)) \
         and ($7::bigint[] is null or f.station_id = any($7))"
    };
}

/// What of an episode stays as it was when it was made: `$1` to `$8`.
macro_rules! kept {
    () => {
        concat!(
            "f.happened_at >= $1::timestamptz and f.happened_at < $2::timestamptz and ",
            identities!(),
            " and ($8::bigint[] is null or f.episode_id = any($8))"
        )
    };
}
pub(super) const KEPT: &str = kept!();

/// The packed days in which such episodes may be; which of a day they are, [`Selection::admits`] tells.
pub(super) const DAYS: &str = concat!(
    "f.day >= ($1::timestamptz at time zone 'UTC')::date and f.day <= ($2::timestamptz at time zone 'UTC')::date and ",
    identities!(),
    " and ($8::bigint[] is null or f.station_id in (select c.station_id from counted_episodes c where c.episode_id = any($8)))"
);
const KEPT_PARAMETERS: usize = 8;

/// The same, and what changes: `$9` to `$11`.
pub(super) const MATCHES: &str = concat!(
    kept!(),
    " and ($9::text[] is null or f.qa_status = any($9)) and ($10::boolean is null or f.cloud_synced = $10) \
     and ($11::text[] is null or f.reason = any($11))"
);
const PARAMETERS: usize = 11;
/// The first parameter behind those of the condition, of a caller who sees everything.
pub(super) const NEXT: usize = PARAMETERS + 1;

const HOME: Home = Home::Organization { factory: "f.factory_id", organization: "f.organization_id" };

/// A filter, with its names looked up.
pub struct Selection {
    filter: CountedFilter,
    stations: Option<Vec<i64>>,
    episodes: Option<Vec<i64>>,
    within: Within,
    kept_within: Within,
}

impl Selection {
    /// The whole condition.
    pub(super) fn matches(&self) -> String {
        format!("{MATCHES}{}", self.within.sql)
    }

    /// The number of the first parameter behind those of the condition.
    pub(super) fn next(&self) -> usize {
        PARAMETERS + self.within.values.len() + 1
    }

    pub(super) fn parameters(&self) -> Vec<Parameter<'_>> {
        let f = &self.filter;
        let changing: [Parameter<'_>; PARAMETERS - KEPT_PARAMETERS] = [&f.qa_statuses, &f.cloud_synced, &f.reasons];
        with(&[&self.own()[..], &changing].concat(), &self.within.values)
    }

    fn own(&self) -> [Parameter<'_>; KEPT_PARAMETERS] {
        let f = &self.filter;
        [&f.from, &f.until, &f.scenes, &f.robot_types, &f.sops, &f.factories, &self.stations, &self.episodes]
    }

    /// The condition without what changes of an episode, for rows that do not have it.
    pub(super) fn matches_kept(&self) -> String {
        format!("{KEPT}{}", self.kept_within.sql)
    }

    pub(super) fn parameters_kept(&self) -> Vec<Parameter<'_>> {
        with(&self.own(), &self.kept_within.values)
    }

    /// The condition for packed days; its parameters are those of [`Selection::matches_kept`].
    pub(super) fn matches_days(&self) -> String {
        format!("{DAYS}{}", self.kept_within.sql)
    }

    /// The window, in microseconds since 1970.
    pub(super) fn window_us(&self) -> Range<i64> {
        self.filter.from.timestamp_micros()..self.filter.until.timestamp_micros()
    }

    /// When the window of equal length before begins; none where there is no such time.
    pub(super) fn before(&self) -> Option<Timestamp> {
        let (from, until) = (self.filter.from, self.filter.until);
        from.checked_sub_signed(until - from).filter(|earlier| can_be_stored(*earlier))
    }

    /// Those of [`Selection::parameters_kept`], for a window that begins earlier.
    pub(super) fn parameters_since<'a>(&'a self, from: &'a Timestamp) -> Vec<Parameter<'a>> {
        let mut parameters = self.parameters_kept();
        parameters[0] = from;
        parameters
    }

    /// Whether an episode of a day that matches is meant, but for the window.
    pub(super) fn admits(&self, episode: &PackedEpisode<'_>) -> bool {
        let f = &self.filter;
        f.qa_statuses.as_ref().is_none_or(|statuses| statuses.contains(&episode.qa_status))
            && f.cloud_synced.is_none_or(|synced| synced == episode.cloud_synced)
            && f.reasons.as_ref().is_none_or(|reasons| !episode.reason.is_empty() && reasons.iter().any(|reason| reason == episode.reason))
            && self.episodes.as_ref().is_none_or(|episodes| episodes.contains(&episode.id))
    }
}

impl Reads {
    pub async fn counted_as_of(&self) -> Result<AsOf, ReadError> {
        Ok(self.row(&as_of(), &[]).await?.unwrap_or(AsOf { position: 0, behind_s: 0.0 }))
    }

    /// Looks up what the filter names.
    pub async fn counted_selection(&self, scope: &Scope, filter: CountedFilter) -> Result<Selection, ReadError> {
        let f = &filter;
        let by_name = f.devices.is_some() || f.operators.is_some() || f.source.is_some();
        let by_station = by_name || f.collector.is_some() || f.workstations.is_some();
        let stations = match by_station {
            true => Some(self.ids(STATIONS, &[&f.devices, &f.operators, &f.source, &f.collector, &f.workstations]).await?),
            false => None,
        };
        let episodes = match &f.task {
            Some(task) => Some(self.ids(EPISODE, &[task]).await?),
            None => None,
        };
        Ok(Selection {
            filter,
            stations,
            episodes,
            within: HOME.within(scope, PARAMETERS),
            kept_within: HOME.within(scope, KEPT_PARAMETERS),
        })
    }

    async fn ids(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<i64>, ReadError> {
        let rows = self.query_planned(statement, &typed(statement, parameters)).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("how far statistics are", as_of()),
        ("stations that statistics are asked about", STATIONS.to_owned()),
        ("episode that statistics are asked about", EPISODE.to_owned()),
    ]
}
