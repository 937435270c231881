//! Episodes as judging sees them, and the runs over each.

use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::episode::QaStatus;
use crate::domain::{EpisodeId, Scope};
use crate::projections::rows::production::{EpisodeRow, QaRunRow};

row! {
    /// An episode, with the kind of robot that recorded it.
    JudgedEpisode of EpisodeRow as "e" {
        robot_type: Option<String> = "y.name",
    }
}

row! {
    QaRunShown of QaRunRow as "q" {}
}

#[derive(Clone, Debug, Default)]
pub struct JudgedFilter {
    /// None: any.
    pub statuses: Option<Vec<QaStatus>>,
    /// Its name or model.
    pub robot_type: Option<String>,
    /// Somewhere in the ids of episode and task, or in the flag; every character stands for itself.
    pub text: Option<String>,
}

/// Runs of one episode that are shown; those before are in the log.
const RUNS_MAX: i64 = 100;

const FROM: &str = "episodes e left join stations w on w.id = e.station_id left join robots r on r.id = w.robot_id \
                    left join robot_types y on y.id = r.robot_type_id";

const HOME: Home = Home::Organization { factory: "e.factory_id", organization: "e.organization_id" };

/// Where a text is somewhere in one of these, and `%` and `_` are only characters.
pub(super) fn contains(parameter: usize) -> String {
    let hit = |field: &str| format!("strpos(comparable({field}), comparable(${parameter})) > 0");
    let hits = ["e.episode_id", "e.task_public_id", "coalesce(e.quality_flag, '')"].map(hit).join(" or ");
    format!("(${parameter}::text is null or {hits})")
}

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: format!(
            "($1::text[] is null or e.qa_status = any ($1)) and ($2::text is null or e.station_id = any (array(select s.id from stations s \
                 join robots k on k.id = s.robot_id join robot_types t on t.id = k.robot_type_id \
                 where comparable(t.name) = comparable($2) or comparable(t.model) = comparable($2)))) and {}",
            contains(3)
        ),
        order: vec![Key::down(KeyType::Instant, "e.created_at"), Key::down(KeyType::Number, "e.id")],
        parameters: 3,
        counted: None,
        home: HOME,
    }
}

fn runs() -> String {
    format!("select {} from qa_runs q where q.episode_id = $1 order by q.id desc limit $2", QaRunShown::columns())
}

impl Reads {
    pub async fn judged_episodes(&self, scope: &Scope, filter: &JudgedFilter, page: Page) -> Result<Listed<JudgedEpisode>, ReadError> {
        let statuses: Option<Vec<&str>> = filter.statuses.as_ref().map(|statuses| statuses.iter().map(|status| status.as_str()).collect());
        self.listed(scope, list(), &[&statuses, &filter.robot_type, &filter.text], page).await
    }

    /// The newest first.
    pub async fn qa_runs(&self, episode: EpisodeId) -> Result<Vec<QaRunShown>, ReadError> {
        self.rows(&runs(), &[&episode, &RUNS_MAX]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("episodes to be judged", list().select(&JudgedEpisode::columns())),
        ("episodes to be judged, counted", list().count()),
        ("runs of an episode", runs()),
    ]
}
