//! Episodes as an administrator acts on many of them: listed by many filters, and counted before something is done about them.

use super::error::ReadError;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use super::selection::{EACH_SCENE, EACH_SOP, EACH_STATION, EACH_STATUS, HOME, PARAMETERS, Values, each, matches};
use crate::domain::episode::EpisodeSelection;
use crate::domain::{DeviceId, RobotTypeId, Scope};
use crate::projections::rows::production::EpisodeRow;

row! {
    /// An episode with where it comes from: what is known now, or else what its workstation remembers.
    OperatedEpisode of EpisodeRow as "e" {
        sop_slug: Option<String> = "p.slug",
        sop_version: Option<String> = "p.sop_version",
        robot_type_id: Option<RobotTypeId> = "y.id",
        robot_type: Option<String> = "coalesce(y.name, w.robot_name)",
        robot_device_id: Option<DeviceId> = "coalesce(r.device_id, w.robot_serial)",
        collector_operator_id: Option<String> = "coalesce(c.operator_id, w.collector_operator_id)",
        collector_name: Option<String> = "coalesce(c.name, w.collector_name)",
    }
}

row! {
    /// What a bulk run of the checks would be about.
    ForQa {
        matched: i64 = "count(*)",
        /// A run goes on: it would be skipped.
        running: i64 = "count(*) filter (where e.qa_status = 'qa_running')",
        /// No run changes their status.
        protected: i64 = "count(*) filter (where e.qa_status in ('needs_inspection', 'inspector_approved', 'rejected'))",
    }
}

row! {
    /// What would be pushed to the cloud. There is no log of syncs, so none is under way, and none has failed.
    ForSync {
        matched: i64 = "count(*)",
        not_approved: i64 = "count(*) filter (where e.qa_status not in ('approved', 'inspector_approved'))",
        /// Of those that are approved.
        synced: i64 = "count(*) filter (where e.qa_status in ('approved', 'inspector_approved') and e.cloud_synced)",
    }
}

const FROM: &str = "episodes e left join sops p on p.id = e.sop_id left join stations w on w.id = e.station_id \
                    left join robots r on r.id = w.robot_id left join robot_types y on y.id = r.robot_type_id \
                    left join data_collectors c on c.id = w.data_collector_id";

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: matches(),
        order: vec![Key::down(KeyType::Instant, "e.created_at"), Key::down(KeyType::Number, "e.id")],
        parameters: PARAMETERS,
        counted: None,
        home: HOME,
    }
}

fn counted<R: FromRow>() -> String {
    format!("select {} from episodes e where {}", R::columns(), matches())
}

impl Reads {
    /// The newest first.
    pub async fn operated_episodes(
        &self,
        scope: &Scope,
        selection: &EpisodeSelection,
        page: Page,
    ) -> Result<Listed<OperatedEpisode>, ReadError> {
        self.listed_by(scope, list(), each(selection), &Values::of(selection).parameters(), page).await
    }

    pub async fn counted_for_qa(&self, scope: &Scope, selection: &EpisodeSelection) -> Result<Option<ForQa>, ReadError> {
        self.counted_once(scope, selection).await
    }

    pub async fn counted_for_sync(&self, scope: &Scope, selection: &EpisodeSelection) -> Result<Option<ForSync>, ReadError> {
        self.counted_once(scope, selection).await
    }

    async fn counted_once<R: FromRow>(&self, scope: &Scope, selection: &EpisodeSelection) -> Result<Option<R>, ReadError> {
        let within = HOME.within(scope, PARAMETERS);
        let values = Values::of(selection);
        self.row_planned(&(counted::<R>() + &within.sql), &with(&values.parameters(), &within.values)).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    let columns = OperatedEpisode::columns();
    vec![
        ("episodes of a selection", list().select(&columns)),
        ("episodes of a selection, by station", list().select_by(&columns, Some(&EACH_STATION))),
        ("episodes of a selection, by scene", list().select_by(&columns, Some(&EACH_SCENE))),
        ("episodes of a selection, by SOP", list().select_by(&columns, Some(&EACH_SOP))),
        ("episodes of a selection, by status", list().select_by(&columns, Some(&EACH_STATUS))),
        ("episodes of a selection, counted", list().count()),
        ("episodes of a selection, counted for checks", counted::<ForQa>()),
        ("episodes of a selection, counted for the cloud", counted::<ForSync>()),
    ]
}
