//! Jobs for checkers elsewhere: the list, the next one to claim, those whose time is over, and what was said of many episodes.

use serde_json::Value;
use tokio_postgres::types::ToSql;

use super::error::ReadError;
use super::home::{Home, Within};
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use crate::domain::judgement::{AskedOutside, OutsideReport};
use crate::domain::outside_job::JobState;
use crate::domain::{EpisodeId, OutsideJobId, Scope, Timestamp};
use crate::projections::rows::outside_job::OutsideJobRow;

row! {
    OutsideJobShown of OutsideJobRow as "j" {}
}

row! {
    /// With what the checker said.
    OutsideJobWhole of OutsideJobRow as "j" {
        said: Option<OutsideReport> = "j.report",
    }
}

row! {
    /// What was said of an episode, the last time.
    SaidOutside {
        id: EpisodeId = "j.episode_id",
        check: String = "j.check_name",
        said: OutsideReport = "j.report",
    }
}

#[derive(Clone, Debug, Default)]
pub struct OutsideJobFilter {
    pub check: Option<String>,
    pub state: Option<JobState>,
    pub episode: Option<EpisodeId>,
}

/// How many are not done yet.
pub const OPEN_COUNT: &str = "select count(*) from outside_jobs where state in ('waiting', 'claimed')";

const HOME: Home = Home::Organization { factory: "j.factory_id", organization: "j.organization_id" };

fn list() -> ListQuery {
    ListQuery {
        from: "outside_jobs j",
        matches:
            "($1::text is null or j.check_name = $1) and ($2::text is null or j.state = $2) and ($3::bigint is null or j.episode_id = $3)"
                .into(),
        order: vec![Key::down(KeyType::Number, "j.id")],
        parameters: 3,
        counted: None,
        home: HOME,
    }
}

fn get(within: &str) -> String {
    format!("select {} from outside_jobs j where j.id = $1{within}", OutsideJobWhole::columns())
}

/// Names and limits, as two parameters.
pub fn columns_of(asked: &[AskedOutside]) -> (Vec<&str>, Vec<Value>) {
    asked.iter().map(|(name, limits)| (name.as_str(), serde_json::json!(limits))).unzip()
}

/// The newest of each check that was asked with these limits: of these episodes, by names and limits.
pub fn said() -> String {
    format!(
        "select distinct on (j.episode_id, j.check_name) {} from outside_jobs j
         join unnest($2::text[], $3::jsonb[]) a (name, limits) on a.name = j.check_name and a.limits = j.limits
         where j.episode_id = any ($1) and j.state = 'done' order by j.episode_id, j.check_name, j.id desc",
        SaidOutside::columns()
    )
}

/// The most urgent job of a check that a caller may claim, and that no other claim looks at. Its row is locked.
pub struct Claimable(Within);

impl Claimable {
    pub fn of(scope: &Scope) -> Self {
        Self(HOME.within(scope, 3))
    }

    pub fn statement(&self) -> String {
        format!(
            "select j.id from outside_jobs j where j.check_name = $1 and j.state in ('waiting', 'claimed') and j.deadline > $2
                 and (j.state = 'waiting' or (j.lease_until <= $2 and j.attempts < $3)){}
             order by j.deadline, j.id limit 1 for update skip locked",
            self.0.sql
        )
    }

    pub fn parameters<'a>(&'a self, check: &'a &str, now: &'a Timestamp, attempts_max: &'a i32) -> Vec<&'a (dyn ToSql + Sync)> {
        with(&[check, now, attempts_max], &self.0.values)
    }
}

impl Reads {
    /// The newest first.
    pub async fn outside_jobs(&self, scope: &Scope, filter: &OutsideJobFilter, page: Page) -> Result<Listed<OutsideJobShown>, ReadError> {
        self.listed(scope, list(), &[&filter.check, &filter.state, &filter.episode], page).await
    }

    pub async fn outside_job(&self, scope: &Scope, id: OutsideJobId) -> Result<Option<OutsideJobWhole>, ReadError> {
        let within = HOME.within(scope, 1);
        self.row(&get(&within.sql), &with(&[&id], &within.values)).await
    }

    /// What checkers said of these episodes when they were asked with these limits.
    pub async fn said_outside(&self, episodes: &[EpisodeId], asked: &[AskedOutside]) -> Result<Vec<SaidOutside>, ReadError> {
        let (names, limits) = columns_of(asked);
        self.rows(&said(), &[&episodes, &names, &limits]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("jobs of outside checks", list().select(&OutsideJobShown::columns())),
        ("jobs of outside checks, counted", list().count()),
        ("job of an outside check", get("")),
        ("what was said outside", said()),
        ("open outside jobs, counted", OPEN_COUNT.to_owned()),
        ("job of an outside check to claim", Claimable::of(&Scope::Everything).statement()),
    ]
}
