//! Episodes as judging sees them, and the runs over each.

use super::error::ReadError;
use super::list::{Each, ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use super::selection::{HOME, contains};
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

/// Statuses one by one: a few episodes that failed lie far apart among those that are well.
const EACH_STATUS: Each = Each { values: "select unnest($1::text[])", column: "e.qa_status", id: "e.id" };

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
    .counted_in("episodes e")
}

fn runs() -> String {
    format!("select {} from qa_runs q where q.episode_id = $1 order by q.id desc limit $2", QaRunShown::columns())
}

impl Reads {
    pub async fn judged_episodes(&self, scope: &Scope, filter: &JudgedFilter, page: Page) -> Result<Listed<JudgedEpisode>, ReadError> {
        let statuses: Option<Vec<&str>> = filter.statuses.as_ref().map(|statuses| statuses.iter().map(|status| status.as_str()).collect());
        // A text or a type of robot is for the planner to weigh.
        let each = (filter.statuses.is_some() && filter.text.is_none() && filter.robot_type.is_none()).then_some(EACH_STATUS);
        self.listed_by(scope, list(), each, &[&statuses, &filter.robot_type, &filter.text], page).await
    }

    /// The newest first.
    pub async fn qa_runs(&self, episode: EpisodeId) -> Result<Vec<QaRunShown>, ReadError> {
        self.rows(&runs(), &[&episode, &RUNS_MAX]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("episodes to be judged", list().select(&JudgedEpisode::columns())),
        ("episodes to be judged, by status", list().select_by(&JudgedEpisode::columns(), Some(&EACH_STATUS))),
        ("episodes to be judged, counted", list().count()),
        ("runs of an episode", runs()),
    ]
}
