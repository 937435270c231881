//! Episodes.

use super::error::ReadError;
use super::list::{AsNumber, Each, ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use super::selection::HOME;
use crate::domain::{DeviceId, EpisodeId, SceneId, Scope, TaskId, Timestamp};
use crate::projections::approved::is_approved;
use crate::projections::rows::production::EpisodeRow;

row! {
    EpisodeShown of EpisodeRow as "e" {
        sop_slug: Option<String> = "p.slug",
        sop_version: Option<String> = "p.sop_version",
        robot_device_id: Option<DeviceId> = "r.device_id",
        collector_operator_id: Option<String> = "c.operator_id",
    }
}

#[derive(Clone, Debug, Default)]
pub struct EpisodeFilter {
    pub task_id: Option<TaskId>,
    pub task_public_id: Option<String>,
    pub scene_id: Option<SceneId>,
    pub qa_status: Option<String>,
    pub auto_approved: Option<bool>,
    pub cloud_processed: Option<bool>,
    pub cloud_synced: Option<bool>,
    pub collector_operator_id: Option<String>,
    pub robot_device_id: Option<String>,
    pub created_from: Option<Timestamp>,
    pub created_to: Option<Timestamp>,
    /// In the cloud, and approved no more.
    pub cloud_outdated: Option<bool>,
    pub edge_copy: Option<String>,
    /// A copy of it was found damaged.
    pub damaged_copy: Option<bool>,
    /// Compared as text: one that is no number finds nothing.
    pub order_id: Option<String>,
    /// The same.
    pub batch_id: Option<String>,
}

const FROM: &str = "episodes e left join sops p on p.id = e.sop_id left join stations w on w.id = e.station_id \
                    left join robots r on r.id = w.robot_id left join data_collectors c on c.id = w.data_collector_id";

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        // Times are compared as they are shown: in whole seconds.
        matches: concat!(
            "($1::bigint is null or e.task_id = $1) and ($2::text is null or comparable(e.task_public_id) = comparable($2)) \
                  and ($3::bigint is null or e.scene_id = $3) and ($4::text is null or e.qa_status = $4) \
                  and ($5::boolean is null or e.auto_approved = $5) and ($6::boolean is null or e.cloud_processed = $6) \
                  and ($7::boolean is null or e.cloud_synced = $7) and ($8::text is null or e.station_id = any (array(select s.id from stations s \
                      join data_collectors k on k.id = s.data_collector_id where comparable(k.operator_id) = comparable($8)))) \
                  and ($9::text is null or e.station_id = any (array(select s.id from stations s \
                      join robots k on k.id = s.robot_id where comparable(k.device_id) = comparable($9)))) \
                  and ($10::timestamptz is null or e.created_at >= $10) \
                  and ($11::timestamptz is null or e.created_at < $11 + interval '1 second') \
                  and ($12::boolean is null or (e.cloud_synced and not ",
            is_approved!(),
            ") = $12) and ($13::text is null or e.edge_copy = $13) and ($14::boolean is null or (e.damaged_copies <> '{}') = $14) \
                  and ($15::bigint is null or e.batch_id = $15) \
                  and ($16::bigint is null or e.batch_id = any (array(select b.id from batches b where b.order_id = $16)))"
        )
        .into(),
        order: vec![Key::down(KeyType::Instant, "e.created_at"), Key::down(KeyType::Number, "e.id")],
        parameters: 16,
        counted: None,
        home: HOME,
    }
    .counted_in("episodes e")
}

/// Batch by batch: those of one order may lie far apart among all episodes.
const EACH_BATCH: Each = Each { values: "select b.id from batches b where b.order_id = $16", column: "e.batch_id", id: "e.id" };

fn get() -> String {
    format!("select {} from {FROM} where e.id = $1", EpisodeShown::columns())
}

fn by_ids() -> String {
    format!("select {} from {FROM} where e.id = any ($1)", EpisodeShown::columns())
}

/// By the path of either of its files. A sidecar lies beside its MCAP, so the candidates are
/// found by the one path that is indexed.
fn by_path() -> String {
    format!("select {} from {FROM} where e.mcap_path = any($1) and (e.mcap_path = $2 or e.sidecar_path = $2)", EpisodeShown::columns())
}

/// Whose recording an object is salvaged from. Episodes with the same content have one object.
fn by_salvaged() -> String {
    format!(
        "select {} from {FROM} where e.id = any (array(select s.id from salvages s where s.object_key = $1 order by s.id))",
        EpisodeShown::columns()
    )
}

impl Reads {
    pub async fn episode(&self, scope: &Scope, id: EpisodeId) -> Result<Option<EpisodeShown>, ReadError> {
        self.seen(scope, HOME, get(), &[&id]).await
    }

    /// Those of these that the scope contains.
    pub async fn episodes_by_id(&self, scope: &Scope, ids: &[EpisodeId]) -> Result<Vec<EpisodeShown>, ReadError> {
        let within = HOME.within(scope, 1);
        self.rows(&(by_ids() + &within.sql), &with(&[&ids], &within.values)).await
    }

    pub async fn episode_of_object(&self, scope: &Scope, path: &str) -> Result<Option<EpisodeShown>, ReadError> {
        let beside = path.rsplit_once('.').map(|(stem, _)| format!("{stem}.mcap"));
        let candidates: Vec<String> = [Some(path.to_owned()), beside].into_iter().flatten().collect();
        self.seen(scope, HOME, by_path(), &[&candidates, &path]).await
    }

    /// One of those that this object of our bucket was salvaged from.
    pub async fn episode_of_salvaged(&self, scope: &Scope, object_key: &str) -> Result<Option<EpisodeShown>, ReadError> {
        self.seen(scope, HOME, by_salvaged(), &[&object_key]).await
    }

    pub async fn episodes(&self, scope: &Scope, filter: &EpisodeFilter, page: Page) -> Result<Listed<EpisodeShown>, ReadError> {
        let f = filter;
        let ids = [&f.batch_id, &f.order_id].map(|text| AsNumber::of(text.as_deref()));
        if ids.contains(&AsNumber::None) {
            return Ok(Listed::NOTHING);
        }
        let [batch, order] = ids.map(AsNumber::number);
        let each = (order.is_some() && batch.is_none()).then_some(EACH_BATCH);
        self.listed_by(
            scope,
            list(),
            each,
            &[
                &f.task_id,
                &f.task_public_id,
                &f.scene_id,
                &f.qa_status,
                &f.auto_approved,
                &f.cloud_processed,
                &f.cloud_synced,
                &f.collector_operator_id,
                &f.robot_device_id,
                &f.created_from,
                &f.created_to,
                &f.cloud_outdated,
                &f.edge_copy,
                &f.damaged_copy,
                &batch,
                &order,
            ],
            page,
        )
        .await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("episode", get()),
        ("episodes by their ids", by_ids()),
        ("episode of an object", by_path()),
        ("episode of a salvaged object", by_salvaged()),
        ("episodes", list().select(&EpisodeShown::columns())),
        ("episodes, by batch", list().select_by(&EpisodeShown::columns(), Some(&EACH_BATCH))),
        ("episodes, counted", list().count()),
    ]
}
