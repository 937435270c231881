//! The gap ledger: intervals of recordings in which messages are missing.

use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::gaps::GapCause;
use crate::domain::{DeviceId, EpisodeId, PublicTaskId, Scope, StationId, TaskId, Timestamp};
use crate::projections::rows::gap::RecordingGapRow;

row! {
    GapShown of RecordingGapRow as "g" {
        episode_public_id: String = "p.episode_id",
        task: TaskId = "p.task_id",
        task_public_id: PublicTaskId = "p.task_public_id",
        robot_device_id: Option<DeviceId> = "w.robot_serial",
    }
}

/// Which gaps. What is not given excludes nothing.
#[derive(Clone, Debug, Default)]
pub struct GapFilter {
    pub robot: Option<String>,
    pub station: Option<StationId>,
    pub topic: Option<String>,
    pub episode: Option<EpisodeId>,
    pub cause: Option<GapCause>,
    /// They begin at this instant or later,
    pub from: Option<Timestamp>,
    /// and at this one or earlier; a whole second is meant to its end, because times are shown in whole seconds.
    pub to: Option<Timestamp>,
}

/// Those of the newest facts of their episode.
const FROM: &str = "recording_gaps g join episode_facts f on f.id = g.episode_id and f.version = g.version \
                    join episodes p on p.id = g.episode_id left join stations w on w.id = g.station_id";

/// Every gap has an episode, so a total asks neither for that nor for its station.
const COUNTED_FROM: &str = "recording_gaps g join episode_facts f on f.id = g.episode_id and f.version = g.version";

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: "($1::text is null or g.station_id = any (array(select s.id from stations s where comparable(s.robot_serial) = comparable($1)))) \
                  and ($2::bigint is null or g.station_id = $2) and ($3::text is null or g.topic = $3) \
                  and ($4::bigint is null or g.episode_id = $4) and ($5::text is null or g.cause = $5) \
                  and ($6::timestamptz is null or g.from_at >= $6) and ($7::timestamptz is null or g.from_at < $7 + interval '1 second')"
            .into(),
        order: vec![Key::down(KeyType::Instant, "g.from_at"), Key::down(KeyType::Number, "g.id")],
        parameters: 7,
        counted: None,
        home: Home::Organization { factory: "g.factory_id", organization: "g.organization_id" },
    }
    .counted_in(COUNTED_FROM)
}

impl Reads {
    /// The newest first.
    pub async fn gaps(&self, scope: &Scope, filter: &GapFilter, page: Page) -> Result<Listed<GapShown>, ReadError> {
        let f = filter;
        self.listed(scope, list(), &[&f.robot, &f.station, &f.topic, &f.episode, &f.cause, &f.from, &f.to], page).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("gaps", list().select(&GapShown::columns())), ("gaps, counted", list().count())]
}
