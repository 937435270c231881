//! What stands in answers of registries, workstations, login, statistics, dashboards and health. Where the contract answers a `POST` with fewer
//! fields, ours has all of them (`decided`).

use super::super::shapes::Field;
use super::super::shapes::Kind::{Any, B, Many, N, Of, S, Texts, Time};
use super::super::shapes::When::{Absent, Added, Always, Null};

pub const ORGANIZATION: &[Field] = &[
    ("id", S, Always),
    ("factory_id", S, Always),
    ("name", S, Always),
    ("slug", S, Always),
    ("description", S, Absent),
    ("settings", Any, Absent),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const FACTORY: &[Field] = &[
    ("id", S, Always),
    ("name", S, Always),
    ("slug", S, Always),
    ("location", S, Absent),
    ("timezone", S, Always),
    ("settings", Any, Null),
    ("sceneCount", N, Always),
    ("orgCount", N, Always),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const SCENE: &[Field] = &[
    ("id", S, Always),
    ("factory_id", S, Always),
    ("name", S, Always),
    ("description", S, Absent),
    ("initial_scene_layout_template", S, Absent),
    ("subsceneCount", N, Always),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const SUBSCENE: &[Field] = &[
    ("id", S, Always),
    ("scene_id", S, Always),
    ("name", S, Always),
    ("description", S, Absent),
    ("initial_scene_layout", S, Absent),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const SKILL: &[Field] = &[
    ("id", S, Always),
    ("slug", S, Always),
    ("description", S, Absent),
    ("version", S, Always),
    ("metadata", Any, Absent),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const SOP: &[Field] = &[
    ("id", S, Always),
    ("slug", S, Always),
    ("description", S, Absent),
    ("version", S, Always),
    ("skill_sequence", Texts, Always),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const ROBOT_TYPE: &[Field] = &[
    ("id", N, Always),
    ("name", S, Always),
    ("model", S, Always),
    ("manufacturer", S, Absent),
    ("end_effector", S, Absent),
    ("sensor_suite", Any, Absent),
    ("capabilities", Any, Absent),
    ("ros_topics", Texts, Always),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const SLOTS: &[Field] = &[("templates", Many(&[("filename", S, Always), ("exists", B, Always), ("updated_at", Time, Null)]), Always)];

pub const TEMPLATE: &[Field] =
    &[("filename", S, Always), ("content", S, Always), ("created_at", Time, Always), ("updated_at", Time, Always)];

pub const WRITTEN: &[Field] = &[("filename", S, Always), ("exists", B, Always), ("created_at", Time, Always), ("updated_at", Time, Always)];

/// `decided`: names of type and factory stand in every answer, and so does what is connected.
pub const ROBOT: &[Field] = &[
    ("id", S, Always),
    ("robot_type_id", S, Always),
    ("robot_type_name", S, Absent),
    ("robot_type_model", S, Absent),
    ("device_id", S, Always),
    ("factory_id", S, Always),
    ("factory_name", S, Absent),
    ("factory_slug", S, Absent),
    ("asset_id", S, Absent),
    ("status", S, Always),
    ("metadata", Any, Absent),
    ("created_at", Time, Always),
    ("updated_at", Time, Absent),
    ("connected", B, Always),
    ("connected_at", Time, Absent),
];

pub const ASSETS: &[Field] = &[("items", Many(&[("device_id", S, Always)]), Always)];

pub const CONNECTION: &[Field] = &[
    ("device_id", S, Always),
    ("connected", B, Always),
    ("connected_at", Time, Absent),
    ("recorder_connected", B, Always),
    ("transfer_connected", B, Always),
];

const ENDPOINTS: &[Field] = &[("keystone_ws_url", S, Always), ("recorder_rpc_url", S, Always), ("transfer_ws_url", S, Always)];

pub const REGISTERED: &[Field] = &[
    ("device_id", S, Always),
    ("factory", S, Always),
    ("factory_id", S, Always),
    ("robot_type", S, Always),
    ("robot_type_id", S, Always),
    ("robot_id", S, Always),
    ("ws_client_auth_token", S, Always),
    ("callback_allowlist", Of(&[("allowed_host", S, Always), ("allowed_path_prefix", S, Always)]), Always),
    // Where its programs connect, and with which key it uploads.
    ("endpoints", Of(ENDPOINTS), Added),
    ("store_endpoint", S, Added),
    ("store_bucket", S, Added),
    ("store_region", S, Added),
    ("store_access_key", S, Added),
    ("store_secret_key", S, Added),
];

pub const ROTATED: &[Field] = &[
    ("device_id", S, Always),
    ("robot_id", S, Always),
    ("ws_client_auth_token", S, Always),
    ("rotated_at", S, Always),
    ("endpoints", Of(ENDPOINTS), Added),
    ("store_endpoint", S, Added),
    ("store_bucket", S, Added),
    ("store_region", S, Added),
    ("store_access_key", S, Added),
    ("store_secret_key", S, Added),
];

pub const STATION: &[Field] = &[
    ("id", S, Always),
    ("robot_id", S, Always),
    ("robot_name", S, Absent),
    ("robot_serial", S, Absent),
    ("robot_type_id", S, Absent),
    ("robot_type_model", S, Absent),
    ("data_collector_id", S, Always),
    ("collector_name", S, Absent),
    ("collector_operator_id", S, Absent),
    ("factory_id", S, Always),
    ("factory_name", S, Absent),
    ("organization_id", S, Always),
    ("organization_name", S, Absent),
    ("status", S, Always),
    ("name", S, Always),
    ("is_current", B, Always),
    ("superseded_by", S, Absent),
    ("metadata", Any, Absent),
    ("created_at", Time, Always),
    ("updated_at", Time, Always),
];

pub const LOOKED_UP: &[Field] = &[(
    "stations",
    Many(&[
        ("id", S, Always),
        ("robot_id", S, Always),
        ("data_collector_id", S, Always),
        ("factory_id", S, Always),
        ("name", S, Always),
        ("status", S, Always),
        ("robot_name", S, Absent),
        ("robot_serial", S, Absent),
        ("collector_name", S, Absent),
        ("collector_operator_id", S, Absent),
        ("deleted", B, Always),
    ]),
    Always,
)];

pub const COLLECTOR: &[Field] = &[
    ("id", S, Always),
    ("organization_id", S, Always),
    ("organization_name", S, Absent),
    ("name", S, Always),
    ("operator_id", S, Always),
    ("email", S, Absent),
    ("certification", S, Absent),
    ("status", S, Always),
    ("metadata", Any, Absent),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const INSPECTOR: &[Field] = &[
    ("id", S, Always),
    ("organization_id", S, Always),
    // `decided`: as a data collector's.
    ("organization_name", S, Added),
    ("name", S, Always),
    ("inspector_id", S, Always),
    ("email", S, Absent),
    ("certification_level", S, Always),
    ("status", S, Always),
    ("metadata", Any, Absent),
    ("created_at", Time, Absent),
    ("updated_at", Time, Absent),
];

pub const LOGIN: &[Field] = &[
    ("access_token", S, Always),
    ("token_type", S, Always),
    ("expires_in", N, Always),
    ("role", S, Always),
    ("collector", Of(&[("id", S, Always), ("operator_id", S, Always), ("name", S, Always)]), Null),
    // The contract's inspectors have no login.
    ("inspector", Any, Added),
];

pub const LOGGED_OUT: &[Field] = &[("ok", B, Always)];

pub const ME: &[Field] = &[
    ("collector_id", N, Null),
    ("operator_id", S, Always),
    ("name", S, Always),
    ("role", S, Always),
    ("workstation_id", S, Null),
    ("robot_id", S, Null),
    // Of an administrator the contract leaves it out.
    ("robot_type", Of(&[("id", S, Always), ("name", S, Always), ("model", S, Always), ("capabilities", Any, Null)]), Added),
    ("inspector_id", S, Added),
    ("certification_level", S, Added),
];

pub const BREAK: &[Field] = &[("workstation_id", S, Always), ("status", S, Always)];

/// Beyond the contract: how far statistics are.
pub const AS_OF: Field = ("as_of", Of(&[("position", N, Always), ("behind_s", N, Always)]), Always);

const COUNT: Field = (
    "count",
    Of(&[("total", N, Always), ("success", N, Always), ("failed", N, Always), ("processing", N, Always), ("success_rate", N, Always)]),
    Always,
);
const DURATION: Field =
    ("duration", Of(&[("total_ms", N, Absent), ("avg_ms", N, Always), ("p95_ms", N, Always), ("max_ms", N, Always)]), Always);
const SIZE: Field = (
    "size",
    Of(&[
        ("total_bytes", N, Absent),
        ("success_bytes", N, Absent),
        ("failed_bytes", N, Absent),
        ("avg_bytes", N, Always),
        ("max_bytes", N, Always),
    ]),
    Always,
);

pub const SUMMARY: &[Field] = &[
    COUNT,
    DURATION,
    SIZE,
    ("qa", Of(&[("approved", N, Always), ("pass_rate", N, Always)]), Always),
    ("cloud_sync", Of(&[("synced", N, Always), ("unsynced", N, Always), ("sync_rate", N, Always)]), Always),
    ("compare", Of(&[("previous_total_count", N, Always), ("count_change_rate", N, Always)]), Always),
    AS_OF,
];

pub const TREND: &[Field] = &[("granularity", S, Always), ("items", Many(&[("time", Time, Always), COUNT, DURATION, SIZE]), Always), AS_OF];

pub const GROUP: &[Field] = &[("id", S, Always), ("name", S, Always), COUNT, DURATION, SIZE];

pub const RECORD: &[Field] = &[
    ("id", S, Always),
    ("time", Time, Always),
    ("source_id", S, Always),
    ("source_name", S, Always),
    ("scene_id", S, Always),
    ("scene_name", S, Always),
    ("robot_device_id", S, Always),
    ("robot_type_id", S, Always),
    ("robot_type_name", S, Always),
    ("collector_operator_id", S, Always),
    ("collector_name", S, Always),
    ("task_id", S, Always),
    ("task_name", S, Always),
    ("sop_id", S, Always),
    ("sop", S, Always),
    ("data_type", S, Always),
    ("status", S, Always),
    ("qa_status", S, Always),
    ("cloud_synced", B, Always),
    ("count", N, Always),
    ("duration_ms", N, Null),
    ("size_bytes", N, Null),
    ("error_code", S, Always),
    ("error_message", S, Always),
];

const SCOPE: Field = (
    "scope",
    Of(&[
        ("role", S, Always),
        ("workstation_id", S, Absent),
        ("factory_id", S, Absent),
        ("organization_id", S, Absent),
        ("warning", S, Absent),
    ]),
    Always,
);
const DAYS: Field = (
    "trend",
    Many(&[
        ("date", S, Always),
        ("total", N, Always),
        ("completed", N, Always),
        ("in_progress", N, Always),
        ("uploading", N, Always),
        ("pending", N, Always),
        ("failed", N, Always),
    ]),
    Always,
);
const SHARE: &[Field] = &[("id", S, Always), ("name", S, Always), ("value", N, Always)];

pub const SNAPSHOT: &[Field] = &[
    SCOPE,
    ("generated_at", S, Always),
    (
        "tasks",
        Of(&[
            ("total", N, Always),
            ("completed", N, Always),
            ("in_progress", N, Always),
            ("uploading", N, Always),
            ("pending", N, Always),
            ("ready", N, Always),
            ("failed", N, Always),
            ("cancelled", N, Always),
        ]),
        Always,
    ),
    DAYS,
    ("distributions", Of(&[("scene", Many(SHARE), Always), ("sop", Many(SHARE), Always)]), Always),
    (
        "quality",
        Of(&[
            ("pass_rate", N, Always),
            ("total_inspected", N, Always),
            ("passed", N, Always),
            ("failed", N, Always),
            ("inspecting", N, Always),
            ("pending_qa", N, Always),
        ]),
        Always,
    ),
    ("system", Of(&[("operating_days", N, Always), ("total_data_duration_sec", N, Always), ("online_stations", N, Always)]), Always),
    (
        "stations",
        Many(&[
            ("id", S, Always),
            ("name", S, Always),
            ("status", S, Always),
            ("status_text", S, Always),
            ("collector_operator_id", S, Always),
            ("collector_name", S, Always),
            ("device_id", S, Always),
            ("device_model", S, Always),
            ("robot_name", S, Always),
        ]),
        Always,
    ),
    (
        "active_batches",
        Many(&[
            ("id", S, Always),
            ("batch_id", S, Always),
            ("order_id", S, Always),
            ("order_name", S, Always),
            ("scene_name", S, Always),
            ("workstation_id", S, Always),
            ("device_id", S, Always),
            ("collector_operator_id", S, Always),
            ("collector_name", S, Always),
            ("task_count", N, Always),
            ("completed_count", N, Always),
            ("failed_count", N, Always),
            ("cancelled_count", N, Always),
        ]),
        Always,
    ),
    (
        "active_tasks",
        Many(&[
            ("id", S, Always),
            ("sop_id", S, Always),
            ("sop_label", S, Always),
            ("scene_full", S, Always),
            ("device_id", S, Always),
            ("collector_operator_id", S, Always),
            ("collector_name", S, Always),
        ]),
        Always,
    ),
    AS_OF,
];

pub const OVERVIEW: &[Field] = &[
    SCOPE,
    ("generated_at", S, Always),
    (
        "summary",
        Of(&[
            ("total_tasks", N, Always),
            ("total_episodes", N, Always),
            ("today_tasks", N, Always),
            ("today_episodes", N, Always),
            ("completed_tasks", N, Always),
            ("failed_tasks", N, Always),
            ("in_progress_tasks", N, Always),
            ("uploading_tasks", N, Always),
            ("pending_tasks", N, Always),
            ("cancelled_tasks", N, Always),
            ("active_batches", N, Always),
            ("active_stations", N, Always),
            ("total_stations", N, Always),
            ("robot_online_rate", N, Always),
            ("quality_pass_rate", N, Always),
            ("total_data_duration_sec", N, Always),
            ("total_data_size_bytes", N, Always),
            ("today_data_duration_sec", N, Always),
            ("today_data_size_bytes", N, Always),
        ]),
        Always,
    ),
    DAYS,
    ("task_status_distribution", Many(&[("status", S, Always), ("label", S, Always), ("value", N, Always)]), Always),
    (
        "quality",
        Of(&[
            ("pass_rate", N, Always),
            ("total_inspected", N, Always),
            ("passed", N, Always),
            ("failed", N, Always),
            ("inspecting", N, Always),
            ("pending_qa", N, Always),
            ("recent_failures", Texts, Always),
        ]),
        Always,
    ),
    (
        "devices",
        Of(&[("summary", Of(&[("total", N, Always), ("online", N, Always), ("offline", N, Always), ("online_rate", N, Always)]), Always)]),
        Always,
    ),
    (
        "stations",
        Of(&[(
            "summary",
            Of(&[
                ("total", N, Always),
                ("online", N, Always),
                ("active", N, Always),
                ("inactive", N, Always),
                ("break", N, Always),
                ("offline", N, Always),
                ("online_rate", N, Always),
            ]),
            Always,
        )]),
        Always,
    ),
    (
        "recent_tasks",
        Many(&[
            ("id", S, Always),
            ("task_id", S, Always),
            ("task_name", S, Always),
            ("status", S, Always),
            ("status_text", S, Always),
            ("robot_name", S, Always),
            ("station_name", S, Always),
            ("batch_id", S, Always),
            ("scene_name", S, Always),
            ("sop_label", S, Always),
            ("episode_id", S, Always),
            ("created_at", Time, Always),
            ("updated_at", Time, Always),
        ]),
        Always,
    ),
    (
        "previews",
        Many(&[
            ("id", S, Always),
            ("scene_name", S, Always),
            ("sop_label", S, Always),
            ("device_type", S, Always),
            ("device_id", S, Always),
            ("station_name", S, Always),
            ("status", S, Always),
            ("video_url", S, Always),
            ("preview_url", S, Always),
            ("poster_url", S, Always),
            ("duration_seconds", N, Always),
            ("created_at", Time, Always),
            ("episode_id", S, Always),
            ("task_id", S, Always),
        ]),
        Always,
    ),
    AS_OF,
    // Ours: how long recordings take from their end until they are verified.
    ("uploads", Of(&[("verified", N, Always), ("p50_s", N, Always), ("p95_s", N, Always), ("longest_s", N, Always)]), Always),
];

pub const BATCH: &[Field] = &[
    ("batch_id", S, Always),
    (
        "items",
        Many(&[
            ("sop_id", S, Always),
            ("sop_label", S, Always),
            ("scene_name", S, Always),
            ("subscene_name", S, Always),
            ("total", N, Always),
            (
                "statuses",
                Of(&[
                    ("pending", N, Always),
                    ("ready", N, Always),
                    ("in_progress", N, Always),
                    ("uploading", N, Always),
                    ("completed", N, Always),
                    ("failed", N, Always),
                    ("cancelled", N, Always),
                ]),
                Always,
            ),
        ]),
        Always,
    ),
];

const COMPONENT: &[Field] = &[("status", S, Always)];

pub const HEALTH: &[Field] = &[
    ("status", S, Always),
    ("timestamp", S, Always),
    (
        "components",
        Of(&[
            ("database", Of(COMPONENT), Always),
            ("storage", Of(COMPONENT), Always),
            ("disk", Of(COMPONENT), Always),
            // How far positions are behind the events.
            ("log", Of(&[("status", S, Always), ("lag_seconds", N, Always), ("led", B, Always)]), Added),
        ]),
        Always,
    ),
    ("version", S, Always),
];
