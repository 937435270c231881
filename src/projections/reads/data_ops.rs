//! Episodes as an administrator acts on many of them: listed by many filters, and counted before something is done about them.

use tokio_postgres::types::ToSql;

use super::error::ReadError;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use super::selection::{EACH_SCENE, EACH_SOP, EACH_STATION, EACH_STATUS, HOME, PARAMETERS, Values, each, matches};
use super::suites::present;
use crate::domain::episode::EpisodeSelection;
use crate::domain::{DeviceId, QaSuiteId, RobotTypeId, Scope};
use crate::projections::approved::{is_approved, is_recalled};
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
    /// What would be pushed to the cloud, of episodes `g` with [`NOT_PUSHED`].
    ForSync {
        matched: i64 = "count(*)",
        not_approved: i64 = "count(*) filter (where g.why = 'not_approved')",
        recalled: i64 = "count(*) filter (where g.why = 'recalled')",
        synced: i64 = "count(*) filter (where g.why = 'synced')",
        /// On their way.
        active: i64 = "count(*) filter (where g.why = 'active')",
    }
}

/// Why an episode would not be pushed: the first reason that holds.
const NOT_PUSHED: &str = concat!(
    "case when not ",
    is_approved!(),
    " then 'not_approved' when ",
    is_recalled!(),
    " then 'recalled' when e.cloud_synced then 'synced' \
     when exists (select from sync_chains y where y.episode_id = e.id and y.status in ('pending', 'in_progress')) then 'active' end"
);

fn counted_for_sync(within: &str) -> String {
    format!("select {} from (select {NOT_PUSHED} as why from episodes e where {}{within}) g", ForSync::columns(), matches())
}

row! {
    /// Whose copies in the edge storage would be removed, of episodes `g` with [`NOT_REMOVED`].
    ForCleanup {
        matched: i64 = "count(*)",
        not_synced: i64 = "count(*) filter (where g.why = 'not_synced')",
        not_approved: i64 = "count(*) filter (where g.why = 'not_approved')",
        recalled: i64 = "count(*) filter (where g.why = 'recalled')",
        /// Removed already, being removed, or being brought back.
        gone: i64 = "count(*) filter (where g.why = 'gone')",
        /// A copy in a cloud was found damaged.
        damaged: i64 = "count(*) filter (where g.why = 'damaged')",
        /// On their way once more, or waiting for the next try.
        active: i64 = "count(*) filter (where g.why = 'active')",
    }
}

/// Why the copy of an episode would not be removed: the first reason that holds.
const NOT_REMOVED: &str = concat!(
    "case when not e.cloud_synced then 'not_synced' when not ",
    is_approved!(),
    " then 'not_approved' when ",
    is_recalled!(),
    " then 'recalled' when e.edge_copy not in ('available', 'delete_failed') then 'gone' \
     when e.damaged_copies && array['s3', 'gateway'] then 'damaged' \
     when exists (select from sync_chains y where y.episode_id = e.id and (y.status in ('pending', 'in_progress') or y.next_retry_at is not null)) \
     then 'active' end"
);

fn counted_for_cleanup(within: &str) -> String {
    format!("select {} from (select {NOT_REMOVED} as why from episodes e where {}{within}) g", ForCleanup::columns(), matches())
}

row! {
    /// What a suite would be applied to, of groups `g` of one station and SOP: each has one suite.
    ForApply {
        matched: i64 = "coalesce(sum(g.matched), 0)::bigint",
        /// Another suite is for them.
        other_suite: i64 = "coalesce(sum(g.matched) filter (where not o.own), 0)::bigint",
        /// Of the others: there are no facts.
        not_measured: i64 = "coalesce(sum(g.not_measured) filter (where o.own), 0)::bigint",
        /// Of these: a run goes on.
        running: i64 = "coalesce(sum(g.running) filter (where o.own), 0)::bigint",
        /// Of these: a person has decided, or is about to.
        protected: i64 = "coalesce(sum(g.protected) filter (where o.own), 0)::bigint",
    }
}

/// No suite that is applied changes their status.
const KEPT: &str = "(e.qa_status in ('inspector_approved', 'rejected') or e.inspection_cause in ('reopened', 'disputed') or e.inspection_blind \
     or cardinality(e.inspection_deciders) > 0 or e.inspection_until > clock_timestamp() \
     or (e.qa_status = 'needs_inspection' and e.operator_word ->> 'verdict' in ('discard', 'redo')))";

fn counted_for_apply(within: &str) -> String {
    let suite = present("v.id", "g.station_id", "g.sop_id");
    let parameter = PARAMETERS + 1;
    format!(
        "select {} from (select e.station_id, e.sop_id, count(*) as matched, count(*) filter (where f.id is null) as not_measured, \
         count(*) filter (where f.id is not null and e.qa_status = 'qa_running') as running, \
         count(*) filter (where f.id is not null and e.qa_status <> 'qa_running' and {KEPT}) as protected \
         from episodes e left join episode_facts f on f.id = e.id where {}{within} group by e.station_id, e.sop_id) g \
         cross join lateral (select ({suite}) is not distinct from ${parameter}::bigint as own) o",
        ForApply::columns(),
        matches()
    )
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
    .counted_in("episodes e")
}

fn counted_for_qa(within: &str) -> String {
    format!("select {} from episodes e where {}{within}", ForQa::columns(), matches())
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
        self.counted_once(scope, selection, counted_for_qa).await
    }

    pub async fn counted_for_sync(&self, scope: &Scope, selection: &EpisodeSelection) -> Result<Option<ForSync>, ReadError> {
        self.counted_once(scope, selection, counted_for_sync).await
    }

    pub async fn counted_for_cleanup(&self, scope: &Scope, selection: &EpisodeSelection) -> Result<Option<ForCleanup>, ReadError> {
        self.counted_once(scope, selection, counted_for_cleanup).await
    }

    /// None of the suites: the shipped one.
    pub async fn counted_for_apply(
        &self,
        scope: &Scope,
        selection: &EpisodeSelection,
        suite: Option<QaSuiteId>,
    ) -> Result<Option<ForApply>, ReadError> {
        let within = HOME.within(scope, PARAMETERS + 1);
        let values = Values::of(selection);
        let own: Vec<&(dyn ToSql + Sync)> = values.parameters().into_iter().chain([&suite as &(dyn ToSql + Sync)]).collect();
        self.row_planned(&counted_for_apply(&within.sql), &with(&own, &within.values)).await
    }

    async fn counted_once<R: FromRow>(
        &self,
        scope: &Scope,
        selection: &EpisodeSelection,
        sql: fn(&str) -> String,
    ) -> Result<Option<R>, ReadError> {
        let within = HOME.within(scope, PARAMETERS);
        let values = Values::of(selection);
        self.row_planned(&sql(&within.sql), &with(&values.parameters(), &within.values)).await
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
        ("episodes of a selection, counted for checks", counted_for_qa("")),
        ("episodes of a selection, counted for the cloud", counted_for_sync("")),
        ("episodes of a selection, counted for a cleanup", counted_for_cleanup("")),
        ("episodes of a selection, counted for a suite", counted_for_apply("")),
    ]
}
