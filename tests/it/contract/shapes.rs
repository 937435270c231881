//! What stands in answers: every field, its JSON type, and when it may be missing.

use serde_json::Value;

/// A JSON type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    S,
    N,
    B,
    Any,
    Texts,
    /// RFC 3339, UTC, whole seconds.
    Time,
    Of(&'static [Field]),
    Many(&'static [Field]),
}

/// When a field may be missing or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// Left out when there is nothing.
    Absent,
    /// There, and `null` when there is nothing.
    Null,
    /// `decided`: beyond the contract; it may be there or not.
    Added,
}

pub type Field = (&'static str, Kind, When);

use Kind::{Any, B, Many, N, Of, S, Texts, Time};
use When::{Absent, Added, Always, Null};

pub const ORDER: &[Field] = &[
    ("id", S, Always),
    ("scene_id", S, Always),
    ("organization_id", S, Always),
    ("scene_name", S, Absent),
    ("organization_name", S, Absent),
    ("name", S, Always),
    ("target_count", N, Always),
    ("task_count", N, Always),
    ("completed_count", N, Always),
    // The contract has them in details only; lists have them, too.
    ("cancelled_count", N, Always),
    ("failed_count", N, Always),
    ("status", S, Always),
    ("priority", S, Always),
    ("deadline", Time, Absent),
    ("metadata", Any, Absent),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const BATCH: &[Field] = &[
    ("id", S, Always),
    ("batch_id", S, Always),
    ("order_id", S, Always),
    ("workstation_id", S, Always),
    ("organization_id", S, Always),
    ("organization_name", S, Absent),
    ("name", S, Always),
    ("notes", S, Absent),
    ("status", S, Always),
    ("task_count", N, Always),
    ("completed_count", N, Always),
    ("cancelled_count", N, Always),
    ("failed_count", N, Always),
    ("episode_count", N, Always),
    ("started_at", Time, Absent),
    ("ended_at", Time, Absent),
    ("metadata", Any, Absent),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const CREATED_TASK: &[Field] = &[
    ("id", S, Always),
    ("task_id", S, Always),
    ("sop_id", S, Always),
    ("subscene_id", S, Always),
    ("status", S, Always),
    ("created_at", Time, Always),
];

pub const CREATED_BATCH: &[Field] = &[("batch", Of(BATCH), Always), ("tasks", Many(CREATED_TASK), Always)];

pub const ADJUSTED: &[Field] = &[("created_tasks", Many(CREATED_TASK), Always), ("deleted_task_ids", Texts, Always)];

pub const ENDED: &[Field] = &[("id", S, Always), ("status", S, Always), ("started_at", Time, Absent), ("updated_at", Time, Absent)];

pub const DELETED: &[Field] =
    &[("batch_deleted", B, Always), ("tasks_removed", N, Always), ("completed_tasks", N, Always), ("batch_status", S, Absent)];

pub const COMPLETED: &[Field] = &[
    ("batch_id", S, Always),
    ("requested_count", N, Always),
    ("completed_count", N, Always),
    ("created_count", N, Always),
    ("group", Of(&[("sop_id", N, Always), ("subscene_id", N, Always), ("scene_name", S, Absent), ("subscene_name", S, Absent)]), Always),
    ("tasks", Many(&[("id", S, Always), ("task_id", S, Always), ("status", S, Always), ("completed_at", Time, Always)]), Always),
    ("batch", Of(&[("id", S, Always), ("status", S, Always), ("completed_count", N, Always), ("task_count", N, Always)]), Always),
];

pub const TASK_ITEM: &[Field] = &[
    ("id", N, Always),
    ("task_id", S, Always),
    ("batch_id", S, Always),
    ("order_id", S, Always),
    ("sop_id", S, Always),
    ("workstation_id", S, Null),
    ("robot_device_id", S, Null),
    ("collector_operator_id", S, Null),
    ("scene_id", S, Always),
    ("scene_name", S, Always),
    ("subscene_id", S, Always),
    ("subscene_name", S, Always),
    ("status", S, Always),
    ("error_message", S, Null),
    ("assigned_at", Time, Null),
];

pub const TASK: &[Field] = &[
    ("id", N, Always),
    ("task_id", S, Always),
    ("batch_id", S, Always),
    ("batch_name", S, Always),
    ("order_id", S, Always),
    ("sop_id", S, Always),
    ("workstation_id", S, Null),
    ("scene_id", S, Always),
    ("scene_name", S, Always),
    ("subscene_id", S, Always),
    ("subscene_name", S, Always),
    ("factory_id", S, Null),
    ("organization_id", N, Null),
    ("status", S, Always),
    ("error_message", S, Null),
    ("created_at", Time, Null),
    ("assigned_at", Time, Null),
    ("started_at", Time, Null),
    ("completed_at", Time, Null),
    // Cancelled tasks say when, too: MN-25.
    ("ended_at", Time, Added),
    ("episode", Of(&[("id", N, Always), ("episode_id", S, Absent)]), Null),
];

pub const CREATED_TASKS: &[Field] = &[
    ("id", S, Always),
    ("task_id", S, Always),
    ("status", S, Always),
    ("created_at", Time, Always),
    (
        "tasks",
        Many(&[("id", S, Always), ("task_id", S, Always), ("status", S, Always), ("created_at", Time, Always), ("tasks", Any, Null)]),
        Always,
    ),
];

pub const CONFIG: &[Field] = &[
    ("task_id", S, Always),
    ("device_id", S, Always),
    ("data_collector_id", S, Always),
    ("order_id", S, Always),
    ("factory", S, Always),
    ("scene", S, Always),
    ("subscene", S, Always),
    ("workstation_id", S, Always),
    ("initial_scene_layout", S, Always),
    ("skills", Texts, Always),
    ("sop_id", S, Always),
    ("topics", Texts, Always),
    ("start_callback_url", S, Always),
    ("finish_callback_url", S, Always),
    ("user_token", S, Always),
];

pub const EPISODE: &[Field] = &[
    ("id", N, Always),
    ("task_id", N, Always),
    ("episode_id", S, Absent),
    ("task_public_id", S, Absent),
    ("sop_slug", S, Null),
    ("sop_version", S, Null),
    ("scene_name", S, Null),
    ("subscene_name", S, Null),
    ("robot_device_id", S, Null),
    ("collector_operator_id", S, Null),
    ("mcap_path", S, Always),
    ("sidecar_path", S, Always),
    ("checksum", S, Null),
    ("file_size_bytes", N, Null),
    ("duration_sec", N, Null),
    ("qa_status", S, Always),
    ("qa_score", N, Null),
    ("quality_flag", S, Absent),
    ("auto_approved", B, Always),
    ("inspector_id", S, Null),
    ("inspection_decision", S, Null),
    ("inspected_at", Time, Null),
    ("cloud_synced", B, Always),
    ("cloud_processed", B, Always),
    ("cloud_synced_at", Time, Null),
    ("created_at", Time, Always),
    ("labels", Texts, Always),
    ("metadata", Any, Absent),
    // Counted by us from the recording itself.
    ("message_count", N, Added),
    ("cloud_mcap_path", S, Added),
    ("approved_at", Time, Added),
    ("edge_copy", S, Added),
    ("damaged_copies", Texts, Added),
    ("sync_status", S, Added),
    ("sync_attempt_count", N, Added),
    ("sync_error_message", S, Added),
    ("sync_next_retry_at", Time, Added),
    ("sync_started_at", Time, Added),
    ("sync_completed_at", Time, Added),
];

pub const LINK: &[Field] = &[("url", S, Always)];

pub const STARTED: &[Field] = &[("status", S, Always), ("task_status", S, Always), ("acknowledged_at", S, Always)];

pub const FINISHED: &[Field] = &[
    ("success", B, Always),
    ("message", S, Always),
    ("task_status", S, Always),
    ("upload_request_sent", B, Always),
    ("upload_request_error", S, Absent),
];

pub const BREAKDOWN_ITEM: &[Field] = &[("id", S, Always), ("name", S, Always), ("count", N, Always)];

fn is_time(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok()
}

/// Checks an object field by field; what the shape does not know is a fault, too.
pub fn check(place: &str, value: &Value, shape: &[Field]) {
    let object = value.as_object().unwrap_or_else(|| panic!("{place} is no object: {value}"));
    for (name, kind, when) in shape {
        let at = format!("{place}.{name}");
        match (object.get(*name), when) {
            (None, Absent | Added) => {}
            (None, Always | Null) => panic!("{at} is missing: {value}"),
            (Some(Value::Null), Null | Added) => {}
            (Some(Value::Null), Always | Absent) => panic!("{at} is null"),
            (Some(value), _) => check_kind(&at, value, *kind),
        }
    }
    for name in object.keys() {
        assert!(shape.iter().any(|(known, _, _)| known == name), "{place}.{name} stands in no table: {value}");
    }
}

fn check_kind(at: &str, value: &Value, kind: Kind) {
    let fits = match kind {
        S => value.is_string(),
        N => value.is_number(),
        B => value.is_boolean(),
        Any => true,
        Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        Time => value.as_str().is_some_and(is_time),
        Of(shape) => return check(at, value, shape),
        Many(shape) => {
            let items = value.as_array().unwrap_or_else(|| panic!("{at} is no array: {value}"));
            return items.iter().for_each(|item| check(at, item, shape));
        }
    };
    assert!(fits, "{at} is no {kind:?}: {value}");
}

/// A page: its items, and what stands around them.
pub fn check_page(place: &str, value: &Value, item: &[Field], around: &[&str]) {
    let items = value["items"].as_array().unwrap_or_else(|| panic!("{place} has no items: {value}"));
    assert!(!items.is_empty(), "{place} shows nothing");
    items.iter().for_each(|found| check(place, found, item));
    for name in ["total", "limit", "offset"] {
        assert!(value[name].is_number(), "{place}.{name}: {value}");
    }
    for (name, found) in value.as_object().expect("an object") {
        match name.as_str() {
            "items" | "total" | "limit" | "offset" => {}
            // Left out when false.
            "hasNext" | "hasPrev" => assert_eq!(found, true, "{place}.{name}"),
            // Of ours: where the next page begins.
            "next_after" => assert!(found.is_string(), "{place}.{name}"),
            other => assert!(around.contains(&other), "{place}.{other} stands in no table"),
        }
    }
}
