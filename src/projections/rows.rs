//! Which table a stream is shown in, and how its state becomes a row.

use serde_json::{Value, json};

use crate::domain::batch::Batch;
use crate::domain::device::{CommandOutcome, Device, DeviceEvent, LinkKind};
use crate::domain::episode::Episode;
use crate::domain::order::Order;
use crate::domain::registry::{DataCollector, Factory, Organization, Record, Registered, Robot, RobotType, Scene, Skill, Sop, Subscene};
use crate::domain::station::Station;
use crate::domain::task::{KeptFile, Stage, Task};
use crate::domain::template::ConfigTemplate;
use crate::domain::token::RecorderToken;
use crate::domain::{Listed, Timestamp};

/// A row to write, as the table's columns.
#[derive(Clone, Debug, PartialEq)]
pub struct RowWrite {
    pub table: &'static str,
    pub row: Value,
}

/// A stream that is shown as one row.
pub trait ReadModel: Listed {
    const TABLE: &'static str;
    /// The row's own columns; `id`, `version`, `created_at` and `updated_at` are the same for all.
    fn columns(id: &str, state: &Self) -> Option<Value>;
    /// Rows that show single events of the stream, beside the row of its state.
    fn event_rows(_id: &str, _event: &Self::Event) -> Vec<RowWrite> {
        vec![]
    }
    /// Whether ids of this kind are numbers.
    const NUMERIC_ID: bool = true;
}

/// Completes the row of a single event with what all rows have.
pub fn stamp_event_row(write: &mut RowWrite, version: i64, at: Timestamp) {
    if let Some(map) = write.row.as_object_mut() {
        map.insert("version".into(), json!(version));
        map.insert("created_at".into(), json!(at));
        map.insert("updated_at".into(), json!(at));
    }
}

/// The whole row of a stream.
pub fn row_of<A: ReadModel>(id: &str, version: i64, state: &A, created_at: Timestamp, updated_at: Timestamp) -> Option<RowWrite> {
    let mut row = A::columns(id, state)?;
    let map = row.as_object_mut()?;
    let id = if A::NUMERIC_ID { json!(id.parse::<i64>().ok()?) } else { json!(id) };
    map.insert("id".into(), id);
    map.insert("version".into(), json!(version));
    map.insert("created_at".into(), json!(created_at));
    map.insert("updated_at".into(), json!(updated_at));
    Some(RowWrite { table: A::TABLE, row })
}

macro_rules! tables {
    ($($table:literal: $($column:ident)+;)+) => {
        /// Every read model: its name and its columns.
        pub const TABLES: &[(&str, &[&str])] = &[$(($table, &["id", "version", "created_at", "updated_at", $(stringify!($column)),+])),+];

        /// Writes rows of a table, given as one JSON array: new ones are inserted, known ones replaced by
        /// a newer version and keep their `created_at`. `None` for a table that is no read model.
        pub fn upsert_sql(table: &str) -> Option<&'static str> {
            match table {
                $($table => Some(concat!(
                    "insert into ", $table, " as t select * from jsonb_populate_recordset(null::", $table, ", $1) ",
                    "on conflict (id) do update set (version, updated_at", $(", ", stringify!($column)),+,
                    ") = (excluded.version, excluded.updated_at", $(", excluded.", stringify!($column)),+,
                    ") where t.version < excluded.version")),)+
                _ => None,
            }
        }

        /// Deletes rows of things that are gone, by their numbers.
        pub fn delete_sql(table: &str) -> Option<&'static str> {
            match table {
                $($table => Some(concat!("delete from ", $table, " where id = any ($1::bigint[])")),)+
                _ => None,
            }
        }
    };
}

tables! {
    "factories": name slug location timezone settings;
    "organizations": factory_id name slug description settings;
    "scenes": factory_id name description initial_scene_layout_template;
    "subscenes": scene_id name description initial_scene_layout;
    "skills": slug skill_version description metadata;
    "sops": slug sop_version description skill_sequence;
    "robot_types": name model manufacturer end_effector sensor_suite capabilities ros_topics;
    "robots": robot_type_id factory_id device_id asset_id status metadata;
    "data_collectors": organization_id name operator_id email certification status metadata;
    "stations": name robot_id robot_name robot_serial data_collector_id collector_name collector_operator_id factory_id organization_id status metadata is_current superseded_by;
    "orders": organization_id scene_id name target_count priority deadline metadata status task_count completed_count failed_count cancelled_count;
    "batches": batch_id order_id station_id organization_id notes metadata status task_count completed_count failed_count cancelled_count episode_count started_at ended_at;
    "tasks": task_id batch_id order_id station_id sop_id scene_id scene_name subscene_id subscene_name initial_scene_layout factory_id organization_id status error_message ready_at started_at completed_at episode_id ended_at;
    "episodes": episode_id task_id task_public_id batch_id order_id station_id sop_id scene_id scene_name subscene_id subscene_name factory_id organization_id mcap_path sidecar_path checksum file_size_bytes etag duration_sec message_count metadata qa_status qa_score quality_flag auto_approved cloud_synced cloud_processed cloud_synced_at labels;
    "devices": recorder_epoch recorder_open recorder_since transfer_epoch transfer_open transfer_since observed_state observed_task recorder_process transfer_process recorder_contest transfer_contest;
    "recorder_tokens": fingerprint store_key;
    "config_templates": robot_type_id filename content;
    "device_commands": device_id action task_id status message data;
}

/// The fields of a value as columns.
fn fields(value: &impl serde::Serialize) -> Option<Value> {
    serde_json::to_value(value).ok().filter(Value::is_object)
}

/// A column under another name.
fn renamed(mut row: Value, from: &str, to: &str) -> Value {
    if let Some(map) = row.as_object_mut()
        && let Some(value) = map.remove(from)
    {
        map.insert(to.to_owned(), value);
    }
    row
}

/// Adds or replaces columns.
fn with(mut row: Value, more: Value) -> Value {
    if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
        row.extend(more);
    }
    row
}

macro_rules! registry_tables {
    ($($record:ident in $table:literal $(, renamed $from:literal to $to:literal)?;)+) => {$(
        impl ReadModel for Registered<$record> {
            const TABLE: &'static str = $table;
            fn columns(_id: &str, state: &Self) -> Option<Value> {
                let row = fields(state.live()?)?;
                $(let row = renamed(row, $from, $to);)?
                Some(row)
            }
        }
    )+};
}

// A slug's `version` is a column of its own: `version` is the stream's.
registry_tables! {
    Factory in "factories";
    Organization in "organizations";
    Scene in "scenes";
    Subscene in "subscenes";
    Skill in "skills", renamed "version" to "skill_version";
    Sop in "sops", renamed "version" to "sop_version";
    RobotType in "robot_types";
    Robot in "robots";
    DataCollector in "data_collectors";
}

/// The table of a kind of registry entry.
pub fn registry_table<R: Record>() -> &'static str
where
    Registered<R>: ReadModel,
{
    <Registered<R> as ReadModel>::TABLE
}

impl ReadModel for RecorderToken {
    const TABLE: &'static str = "recorder_tokens";
    fn columns(_id: &str, state: &Self) -> Option<Value> {
        fields(state)
    }
}

impl ReadModel for ConfigTemplate {
    const TABLE: &'static str = "config_templates";
    const NUMERIC_ID: bool = false;
    fn columns(_id: &str, state: &Self) -> Option<Value> {
        match state {
            Self::Absent => None,
            Self::Written(template) => fields(template),
            Self::Deleted(template) => Some(with(fields(template)?, json!({ "content": null }))),
        }
    }
}

impl ReadModel for Station {
    const TABLE: &'static str = "stations";
    fn columns(_id: &str, state: &Self) -> Option<Value> {
        let Station::Bound(station) = state else { return None };
        Some(with(fields(&station.binding)?, json!({ "status": station.status, "is_current": station.current, "superseded_by": null })))
    }
}

impl ReadModel for Order {
    const TABLE: &'static str = "orders";
    fn columns(_id: &str, state: &Self) -> Option<Value> {
        let order = state.placed()?;
        let tally = order.tally;
        let counts = json!({
            "status": order.status, "task_count": tally.tasks, "completed_count": tally.completed,
            "failed_count": tally.failed, "cancelled_count": tally.cancelled,
        });
        Some(with(fields(&order.terms)?, counts))
    }
}

impl ReadModel for Batch {
    const TABLE: &'static str = "batches";
    fn columns(_id: &str, state: &Self) -> Option<Value> {
        let batch = state.created()?;
        let tally = batch.tally;
        let counts = json!({
            "status": batch.status, "task_count": tally.tasks, "completed_count": tally.completed,
            "failed_count": tally.failed, "cancelled_count": tally.cancelled, "episode_count": batch.episode_count,
            "started_at": batch.started_at, "ended_at": batch.ended_at,
        });
        Some(with(fields(&batch.brief)?, counts))
    }
}

impl ReadModel for Task {
    const TABLE: &'static str = "tasks";
    fn columns(_id: &str, state: &Self) -> Option<Value> {
        let task = state.dispatched()?;
        let (ended_at, episode_id, error_message) = match &task.stage {
            Stage::Pending | Stage::Ready | Stage::InProgress => (None, None, None),
            Stage::Uploading(upload) => (None, None, upload.rejected.as_ref().map(ToString::to_string).or_else(|| upload.missing.clone())),
            Stage::Completed { episode_id, at, .. } => (Some(*at), Some(*episode_id), None),
            Stage::CompletedExternally { at, .. } | Stage::Cancelled { at } => (Some(*at), None, None),
            Stage::Failed { reason, at, kept } => {
                let where_it_is = |kept: &KeptFile| format!("{reason}; the robot keeps {} in its failed_uploads_dir", kept.file);
                let kept = kept.as_ref().filter(|_| task.late.is_none());
                (Some(*at), None, Some(kept.map_or_else(|| reason.clone(), where_it_is)))
            }
        };
        let episode_id = episode_id.or(task.late.as_ref().and_then(|late| late.episode_id));
        // As devices and pages know it: also when the task failed, and not when it was cancelled.
        let completed_at = ended_at.filter(|_| !matches!(task.stage, Stage::Cancelled { .. }));
        let progress = json!({
            "status": task.stage.status(), "error_message": error_message, "ready_at": task.ready_at,
            "started_at": task.started_at, "completed_at": completed_at, "ended_at": ended_at, "episode_id": episode_id,
        });
        Some(with(fields(&task.brief)?, progress))
    }
}

impl ReadModel for Episode {
    const TABLE: &'static str = "episodes";
    fn columns(_id: &str, state: &Self) -> Option<Value> {
        let Episode::Known(episode) = state else { return None };
        let judgement = json!({
            "qa_status": "pending_qa", "qa_score": null, "quality_flag": null, "auto_approved": false,
            "cloud_synced": false, "cloud_processed": false, "cloud_synced_at": null, "labels": episode.labels,
        });
        Some(with(renamed(fields(&episode.created)?, "public_task_id", "task_public_id"), judgement))
    }
}

impl ReadModel for Device {
    const TABLE: &'static str = "devices";
    const NUMERIC_ID: bool = false;
    fn columns(_id: &str, state: &Self) -> Option<Value> {
        let (recorder, transfer) = (state.link(LinkKind::Recorder), state.link(LinkKind::Transfer));
        Some(json!({
            "recorder_epoch": recorder.epoch, "recorder_open": recorder.open, "recorder_since": recorder.since, "recorder_process": recorder.process,
            "transfer_epoch": transfer.epoch, "transfer_open": transfer.open, "transfer_since": transfer.since, "transfer_process": transfer.process,
            "observed_state": state.observed.as_ref().map(|seen| seen.state),
            "observed_task": state.observed.as_ref().and_then(|seen| seen.task_id.clone()),
            "recorder_contest": recorder.contest, "transfer_contest": transfer.contest,
        }))
    }

    fn event_rows(id: &str, event: &DeviceEvent) -> Vec<RowWrite> {
        let row = match event {
            DeviceEvent::DeviceCommandRequested { command_id, action, task_id, .. } => json!({
                "id": command_id, "device_id": id, "action": action, "task_id": task_id,
                "status": "requested", "message": null, "data": null,
            }),
            DeviceEvent::DeviceCommandSettled { command_id, action, task_id, outcome } => {
                let (status, message, data) = match outcome {
                    CommandOutcome::Succeeded { message, data } => ("succeeded", message.clone(), data.clone()),
                    CommandOutcome::Refused { message, data } => ("refused", message.clone(), data.clone()),
                    CommandOutcome::Unknown { reason, cause } => {
                        ("unknown", Some(reason.clone()), cause.map(|cause| json!({ "cause": cause.as_str() })))
                    }
                    CommandOutcome::NotSent { reason } => ("not_sent", Some(reason.clone()), None),
                };
                json!({
                    "id": command_id, "device_id": id, "action": action, "task_id": task_id,
                    "status": status, "message": message, "data": data,
                })
            }
            _ => return vec![],
        };
        vec![RowWrite { table: "device_commands", row }]
    }
}
