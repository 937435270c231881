//! Episodes on their way to the cloud: chains, what an episode's newest one says, the queue, and what people switched.

use serde_json::Value;

use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::sync::CloudName;
use crate::domain::{EpisodeId, Scope, SyncChainId, Timestamp};
use crate::projections::rows::sync::{SyncChainRow, SyncControlRow};

row! {
    SyncChainShown of SyncChainRow as "c" {}
}

row! {
    /// The newest chain of an episode, with what all of them took.
    SyncSummary of SyncChainRow as "c" {
        total_attempt_count: i64 = "(select sum(a.attempt_count) from sync_chains a where a.episode_id = c.episode_id)::bigint",
        sync_log_count: i64 = "(select count(*) from sync_chains a where a.episode_id = c.episode_id)",
    }
}

row! {
    /// What the cloud has so far of a chain that is under way.
    SyncProgress {
        chain: SyncChainId = "p.chain_id",
        done_bytes: i64 = "sum(p.done_bytes)::bigint",
        updated_at: Timestamp = "max(p.updated_at)",
    }
}

row! {
    /// What the data platform is told of an episode: of the registry as it is now, and of its workstation where that has lost something.
    PlatformFacts {
        has_robot: bool = "(r.id is not null)",
        asset_id: Option<String> = "r.asset_id",
        sop_slug: Option<String> = "p.slug",
        sop_version: Option<String> = "p.sop_version",
        sop_description: Option<String> = "p.description",
        scene: Option<String> = "coalesce(nullif(trim(e.scene_name), ''), sc.name)",
        subscene: Option<String> = "coalesce(nullif(trim(e.subscene_name), ''), ss.name)",
        robot_type: Option<String> = "coalesce(rt.name, w.robot_name)",
        data_collector_operator_id: Option<String> = "who.operator_id",
        data_collector_name: Option<String> = "who.name",
        order_name: Option<String> = "o.name",
        batch_id: Option<String> = "b.batch_id",
    }
}

row! {
    SyncControlShown of SyncControlRow as "k" {}
}

row! {
    /// Why a cloud gets nothing at the moment.
    CloudTrouble {
        cloud: String = "t.cloud",
        error: String = "t.error",
        since: Timestamp = "t.since",
        seen_at: Timestamp = "t.seen_at",
    }
}

/// How many wait for the cloud or are on their way, and for how long the oldest, in seconds.
pub const QUEUE_DEPTH: &str =
    "select count(*), coalesce(extract(epoch from clock_timestamp() - min(c.created_at)), 0)::float8 from sync_chains c
    where c.status in ('pending', 'in_progress') or c.next_retry_at is not null";

const HOME: Home = Home::Organization { factory: "c.factory_id", organization: "c.organization_id" };
const IS_NEWEST: &str = "not exists (select from sync_chains n where n.episode_id = c.episode_id and n.id > c.id)";

fn list(newest_only: bool) -> ListQuery {
    ListQuery {
        from: "sync_chains c",
        matches: format!("($1::text is null or c.status = $1){}", if newest_only { format!(" and {IS_NEWEST}") } else { String::new() }),
        order: vec![Key::down(KeyType::Instant, "c.started_at"), Key::down(KeyType::Number, "c.id")],
        parameters: 1,
        counted: None,
        home: HOME,
    }
}

fn of_episode() -> ListQuery {
    ListQuery {
        from: "sync_chains c",
        matches: "c.episode_id = $1::bigint".into(),
        order: vec![Key::down(KeyType::Number, "c.id")],
        parameters: 1,
        counted: None,
        home: HOME,
    }
}

fn newest_of() -> String {
    format!(
        "select distinct on (c.episode_id) {} from sync_chains c where c.episode_id = any ($1) order by c.episode_id, c.id desc",
        SyncChainShown::columns()
    )
}

/// People by what is known of them, so that who is forgotten is told of to nobody.
fn platform_facts() -> String {
    format!(
        "select {} from episodes e left join stations w on w.id = e.station_id left join robots r on r.id = w.robot_id
        left join robot_types rt on rt.id = r.robot_type_id left join sops p on p.id = e.sop_id left join scenes sc on sc.id = e.scene_id
        left join subscenes ss on ss.id = e.subscene_id left join orders o on o.id = e.order_id left join batches b on b.id = e.batch_id
        left join people who on who.subject = 'data_collector' and who.subject_id = w.data_collector_id where e.id = $1",
        PlatformFacts::columns()
    )
}

fn progress() -> String {
    format!("select {} from sync_progress p where p.chain_id = any ($1) group by p.chain_id", SyncProgress::columns())
}

fn control() -> String {
    format!("select {} from sync_control k", SyncControlShown::columns())
}

fn troubles() -> String {
    format!("select {} from cloud_troubles t order by t.cloud", CloudTrouble::columns())
}

impl Reads {
    /// Those that started last first. A status that there is none of selects nothing.
    pub async fn sync_chains(&self, scope: &Scope, status: Option<&str>, page: Page) -> Result<Listed<SyncChainShown>, ReadError> {
        self.listed(scope, list(false), &[&status], page).await
    }

    /// Of each episode that has a chain, the newest.
    pub async fn sync_summaries(&self, scope: &Scope, status: Option<&str>, page: Page) -> Result<Listed<SyncSummary>, ReadError> {
        self.listed(scope, list(true), &[&status], page).await
    }

    /// The newest first.
    pub async fn sync_chains_of(&self, scope: &Scope, episode: EpisodeId, page: Page) -> Result<Listed<SyncChainShown>, ReadError> {
        self.listed(scope, of_episode(), &[&episode], page).await
    }

    /// Of those episodes that have one. Whose they are was asked before.
    pub async fn newest_sync_chains(&self, episodes: &[EpisodeId]) -> Result<Vec<SyncChainShown>, ReadError> {
        self.rows(&newest_of(), &[&episodes]).await
    }

    pub async fn platform_facts(&self, episode: EpisodeId) -> Result<Option<PlatformFacts>, ReadError> {
        self.row(&platform_facts(), &[&episode]).await
    }

    pub async fn sync_progress(&self, chains: &[SyncChainId]) -> Result<Vec<SyncProgress>, ReadError> {
        self.rows(&progress(), &[&chains]).await
    }

    /// None where nobody has switched anything.
    pub async fn sync_control(&self) -> Result<Option<SyncControlShown>, ReadError> {
        self.row(&control(), &[]).await
    }

    /// Whether what is approved is pushed by itself.
    pub async fn auto_scan(&self, by_default: bool) -> Result<bool, ReadError> {
        Ok(self.sync_control().await?.and_then(|control| control.own.auto_scan).unwrap_or(by_default))
    }

    pub async fn cloud_troubles(&self) -> Result<Vec<CloudTrouble>, ReadError> {
        self.rows(&troubles(), &[]).await
    }
}

impl PlatformFacts {
    /// By the names of the tags.
    pub fn tags(self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("sop_slug", self.sop_slug),
            ("sop_version", self.sop_version),
            ("sop_description", self.sop_description),
            ("scene", self.scene),
            ("subscene", self.subscene),
            ("robot_type", self.robot_type),
            ("data_collector_operator_id", self.data_collector_operator_id),
            ("data_collector_name", self.data_collector_name),
            ("order_name", self.order_name),
            ("batch_id", self.batch_id),
        ]
    }
}

impl SyncControlShown {
    pub fn is_paused(&self, cloud: CloudName) -> bool {
        self.own.paused.get(cloud.as_str()).is_some_and(Value::is_object)
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("what the data platform is told of an episode", platform_facts()),
        ("sync chains", list(false).select(&SyncChainShown::columns())),
        ("sync chains, counted", list(false).count()),
        ("newest sync chains", list(true).select(&SyncSummary::columns())),
        ("newest sync chains, counted", list(true).count()),
        ("sync chains of an episode", of_episode().select(&SyncChainShown::columns())),
        ("sync chains of an episode, counted", of_episode().count()),
        ("newest sync chains of episodes", newest_of()),
        ("progress of sync chains", progress()),
        ("what was switched of cloud sync", control()),
        ("troubles of clouds", troubles()),
        ("queue of the cloud", QUEUE_DEPTH.to_owned()),
    ]
}
