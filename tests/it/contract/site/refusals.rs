//! Every refusal of the contract: what is asked, which status comes, which keys stand beside the text.
//! Nothing is changed by any of them.

use serde_json::Value;

use super::{Site, of};
use crate::harness::edge::number;

/// A request that is refused. In path and body `$factory` and the like stand for ids of the site.
struct Row {
    name: String,
    what: &'static str,
    status: u16,
    path: String,
    body: &'static str,
    /// Keys beside the text.
    keys: &'static [&'static str],
}

/// Of a registry: what makes an entry without a name, with one that is taken (none: it may be), and a reference to a parent that is not there.
const REGISTRIES: [(&str, &str, &str, &str); 10] = [
    ("factories", r#"{"name": " "}"#, r#"{"name": "factory SHANGHAI"}"#, ""),
    (
        "organizations",
        r#"{"factory_id": "$factory"}"#,
        r#"{"factory_id": "$factory", "name": "ACME"}"#,
        r#"{"factory_id": "999", "name": "x"}"#,
    ),
    (
        "scenes",
        r#"{"factory_id": "$factory"}"#,
        r#"{"factory_id": "$factory", "name": "Kitchen"}"#,
        r#"{"factory_id": "999", "name": "x"}"#,
    ),
    ("subscenes", r#"{"scene_id": "$scene"}"#, r#"{"scene_id": "$scene", "name": "SINK"}"#, r#"{"scene_id": "999", "name": "x"}"#),
    ("skills", r#"{"slug": "a b"}"#, r#"{"slug": "Pick"}"#, ""),
    ("sops", r#"{"slug": ""}"#, r#"{"slug": "WASH"}"#, ""),
    ("robot_types", r#"{"name": "Hand"}"#, r#"{"name": "Hand", "model": "ARM-1"}"#, ""),
    (
        "robots",
        r#"{"robot_type_id": "$type", "factory_id": "$factory"}"#,
        r#"{"robot_type_id": "$type", "factory_id": "$factory", "device_id": "spare"}"#,
        r#"{"robot_type_id": "999", "factory_id": "$factory", "device_id": "x"}"#,
    ),
    (
        "data_collectors",
        r#"{"organization_id": "$organization", "name": "X", "password": "a password of theirs"}"#,
        r#"{"organization_id": "$organization", "name": "X", "operator_id": "LI", "password": "a password of theirs"}"#,
        r#"{"organization_id": "999", "name": "X", "operator_id": "x", "password": "a password of theirs"}"#,
    ),
    (
        "inspectors",
        r#"{"organization_id": "$organization", "name": "X"}"#,
        r#"{"organization_id": "$organization", "name": "X", "inspector_id": "li"}"#,
        r#"{"organization_id": "999", "name": "X", "inspector_id": "x"}"#,
    ),
];

type Refused = (&'static str, &'static str, u16, &'static str, &'static str, &'static [&'static str]);

const WINDOW: &str = "start_time=2026-01-01T00:00:00Z&end_time=2026-02-01T00:00:00Z";
const SUMMARY: &str = "/admin/statistics/data-production/summary";
const TREND: &str = "/admin/statistics/data-production/trend";
const BREAKDOWN: &str = "/admin/statistics/data-production/breakdown";
const DETAILS: &str = "/admin/statistics/data-production/details";
const EXPORT: &str = "/admin/statistics/data-production/export";

/// What is of one registry or family alone.
const ROWS: &[Refused] = &[
    ("POST /robots", "unknown factory", 400, "", r#"{"robot_type_id": "$type", "factory_id": "999", "device_id": "x"}"#, &[]),
    (
        "POST /robots",
        "asset that is not ready",
        400,
        "",
        r#"{"robot_type_id": "$type", "factory_id": "$factory", "device_id": "x", "asset_id": "bare"}"#,
        &[],
    ),
    ("POST /factories", "name beyond 255 characters", 400, "", r#"{"name": "$long"}"#, &[]),
    ("POST /sops", "unknown skill", 400, "", r#"{"slug": "x", "skill_sequence": ["999"]}"#, &[]),
    ("POST /skills", "version beyond 20 characters", 400, "", r#"{"slug": "x", "version": "123456789012345678901"}"#, &[]),
    (
        "POST /inspectors",
        "unknown level",
        400,
        "",
        r#"{"organization_id": "$organization", "name": "X", "inspector_id": "x", "certification_level": "level_9"}"#,
        &[],
    ),
    // `decided`: MN-15; the contract's server gives a built-in one.
    ("POST /data_collectors", "no password", 400, "", r#"{"organization_id": "$organization", "name": "X", "operator_id": "x"}"#, &[]),
    ("PUT /scenes/{id}", "empty factory", 400, "/scenes/$scene", r#"{"factory_id": ""}"#, &[]),
    ("PUT /scenes/{id}", "unknown factory", 400, "/scenes/$scene", r#"{"factory_id": "999"}"#, &[]),
    ("PUT /subscenes/{id}", "unknown scene", 400, "/subscenes/$subscene", r#"{"scene_id": "999"}"#, &[]),
    ("PUT /skills/{id}", "empty slug", 400, "/skills/$skill", r#"{"slug": ""}"#, &[]),
    ("PUT /skills/{id}", "another version", 400, "/skills/$skill", r#"{"version": "9.9.9"}"#, &[]),
    ("PUT /sops/{id}", "another version", 400, "/sops/$sop", r#"{"version": "9.9.9"}"#, &[]),
    ("PUT /robots/{id}", "empty device", 400, "/robots/$spare", r#"{"device_id": ""}"#, &[]),
    ("PUT /robots/{id}", "asset, even null", 400, "/robots/$spare", r#"{"asset_id": null}"#, &[]),
    ("PUT /robots/{id}", "unknown status", 400, "/robots/$spare", r#"{"status": "lost"}"#, &[]),
    ("PUT /data_collectors/{id}", "empty operator id", 400, "/data_collectors/$idler", r#"{"operator_id": ""}"#, &[]),
    ("PUT /data_collectors/{id}", "empty password", 400, "/data_collectors/$idler", r#"{"password": ""}"#, &[]),
    ("PUT /data_collectors/{id}", "unknown status", 400, "/data_collectors/$idler", r#"{"status": "lost"}"#, &[]),
    ("DELETE /factories/{id}", "scenes belong to it", 400, "/factories/$factory", "", &["count"]),
    ("DELETE /organizations/{id}", "people belong to it", 400, "/organizations/$organization", "", &["count"]),
    ("DELETE /scenes/{id}", "subscenes belong to it", 400, "/scenes/$scene", "", &["count"]),
    // `decided`: MN-9.
    ("DELETE /subscenes/{id}", "tasks are of it", 409, "/subscenes/$subscene", "", &["count"]),
    ("DELETE /sops/{id}", "tasks are of it", 409, "/sops/$sop", "", &["count"]),
    ("DELETE /skills/{id}", "a SOP names it", 409, "/skills/$skill", "", &["count"]),
    ("DELETE /robot_types/{id}", "robots are of it", 409, "/robot_types/$type", "", &["count"]),
    ("DELETE /robots/{id}", "was bound", 409, "/robots/$robot", "", &["count"]),
    ("DELETE /data_collectors/{id}", "was bound", 409, "/data_collectors/$collector", "", &["count"]),
    ("GET /robots", "connected is neither", 400, "/robots?connected=perhaps", "", &[]),
    ("GET /inspectors", "unknown level", 400, "/inspectors?certification_level=level_9", "", &[]),
    ("GET /stations", "unknown status", 400, "/stations?status=lost", "", &[]),
    ("GET /robot_types/{id}/configs/{filename}", "another file", 400, "/robot_types/$type/configs/x.yaml", "", &[]),
    ("GET /robot_types/{id}/configs/{filename}", "no template", 404, "/robot_types/$type/configs/recorder.yaml", "", &[]),
    ("GET /robot_types/{id}/config_templates", "unknown", 404, "/robot_types/999/config_templates", "", &[]),
    ("GET /robot_types/{id}/config_templates", "id 0", 400, "/robot_types/0/config_templates", "", &[]),
    ("GET /robot_types/{id}/config_templates/{filename}", "no template", 404, "/robot_types/$type/config_templates/transfer.yaml", "", &[]),
    (
        "PUT /robot_types/{id}/config_templates/{filename}",
        "blank",
        400,
        "/robot_types/$type/config_templates/transfer.yaml",
        r#"{"content": " "}"#,
        &[],
    ),
    (
        "PUT /robot_types/{id}/config_templates/{filename}",
        "unknown type",
        404,
        "/robot_types/999/config_templates/transfer.yaml",
        r#"{"content": "a"}"#,
        &[],
    ),
    ("DELETE /robot_types/{id}/config_templates/{filename}", "another file", 400, "/robot_types/$type/config_templates/x", "", &[]),
    ("GET /robots/cloud-asset-options", "robot 0", 400, "/robots/cloud-asset-options?robot_id=0", "", &[]),
    ("GET /robots/cloud-asset-options", "unknown robot", 404, "/robots/cloud-asset-options?robot_id=999", "", &[]),
    ("PUT /robots/{id}/cloud-asset", "none", 400, "/robots/$spare/cloud-asset", r#"{"asset_id": " "}"#, &[]),
    ("PUT /robots/{id}/cloud-asset", "not ready", 400, "/robots/$spare/cloud-asset", r#"{"asset_id": "bare"}"#, &[]),
    ("PUT /robots/{id}/cloud-asset", "unknown robot", 404, "/robots/999/cloud-asset", r#"{"asset_id": "asset-1"}"#, &[]),
    ("DELETE /robots/{id}/cloud-asset", "unknown robot", 404, "/robots/999/cloud-asset", "", &[]),
    ("POST /devices/register", "no factory", 400, "/devices/register", r#"{"robot_type": "arm-1"}"#, &[]),
    ("POST /devices/register", "unknown factory", 404, "/devices/register", r#"{"factory": "x", "robot_type": "arm-1"}"#, &[]),
    ("POST /devices/register", "unknown type", 404, "/devices/register", r#"{"factory": "Factory Shanghai", "robot_type": "x"}"#, &[]),
    ("POST /robots/{id}/ws-client-auth-token/rotate", "id 0", 400, "/robots/0/ws-client-auth-token/rotate", "", &[]),
    ("POST /robots/{id}/ws-client-auth-token/rotate", "unknown", 404, "/robots/999/ws-client-auth-token/rotate", "", &[]),
    ("GET /stations/{id}", "id is no integer", 400, "/stations/x", "", &[]),
    ("GET /stations/{id}", "unknown", 404, "/stations/999", "", &[]),
    ("POST /stations", "no robot", 400, "/stations", r#"{"data_collector_id": "$idler"}"#, &[]),
    ("POST /stations", "unknown robot", 400, "/stations", r#"{"robot_id": "999", "data_collector_id": "$idler"}"#, &[]),
    ("POST /stations", "unknown collector", 400, "/stations", r#"{"robot_id": "$spare", "data_collector_id": "999"}"#, &[]),
    ("POST /stations", "robot is bound", 409, "/stations", r#"{"robot_id": "$robot", "data_collector_id": "$idler"}"#, &["message"]),
    (
        "POST /stations",
        "collector is bound",
        409,
        "/stations",
        r#"{"robot_id": "$spare", "data_collector_id": "$collector"}"#,
        &["message"],
    ),
    ("PUT /stations/{id}", "unknown", 404, "/stations/999", r#"{"status": "break"}"#, &[]),
    ("PUT /stations/{id}", "nothing to change", 400, "/stations/$station", "{}", &[]),
    ("PUT /stations/{id}", "unknown status", 400, "/stations/$station", r#"{"status": "lost"}"#, &["valid", "actual"]),
    ("PUT /stations/{id}", "empty robot", 400, "/stations/$station", r#"{"robot_id": ""}"#, &[]),
    ("DELETE /stations/{id}", "unknown", 404, "/stations/999", "", &[]),
    ("POST /auth/login", "no account", 400, "/auth/login", r#"{"password": "x"}"#, &[]),
    ("POST /auth/login", "no password", 400, "/auth/login", r#"{"account": "li"}"#, &[]),
    ("POST /auth/login", "another password", 401, "/auth/login", r#"{"account": "li", "password": "x"}"#, &[]),
    ("POST /auth/login", "nobody", 401, "/auth/login", r#"{"account": "nobody", "password": "x"}"#, &[]),
    ("GET /auth/me", "no login", 401, "/auth/me", "", &[]),
    ("POST /auth/me/station/break", "no workstation", 404, "/auth/me/station/break", "", &[]),
    ("POST /auth/me/station/end-break", "no workstation", 404, "/auth/me/station/end-break", "", &[]),
    ("GET /admin/statistics/data-production/summary", "no window", 400, SUMMARY, "", &[]),
    ("GET /admin/statistics/data-production/summary", "unknown status", 400, SUMMARY, "qa_status=good", &[]),
    ("GET /admin/statistics/data-production/summary", "scene is no integer", 400, SUMMARY, "scene_id=x", &[]),
    ("GET /admin/statistics/data-production/summary", "synced is neither", 400, SUMMARY, "cloud_synced=perhaps", &[]),
    ("GET /admin/statistics/data-production/trend", "unknown granularity", 400, TREND, "granularity=year", &[]),
    ("GET /admin/statistics/data-production/trend", "offset beyond 14 hours", 400, TREND, "timezone_offset=%2B15:00", &[]),
    ("GET /admin/statistics/data-production/breakdown", "unknown dimension", 400, BREAKDOWN, "dimension=weather", &[]),
    ("GET /admin/statistics/data-production/breakdown", "limit 0", 400, BREAKDOWN, "limit=0", &[]),
    ("GET /admin/statistics/data-production/details", "unknown order", 400, DETAILS, "sort_by=name", &[]),
    ("GET /admin/statistics/data-production/details", "unknown direction", 400, DETAILS, "sort_order=up", &[]),
    ("GET /admin/statistics/data-production/export", "offset that is none", 400, EXPORT, "timezone_offset=8", &[]),
    ("GET /operator/statistics/data-production/summary", "no window", 400, "/operator/statistics/data-production/summary", "", &[]),
    ("GET /operator/statistics/data-production/trend", "no window", 400, "/operator/statistics/data-production/trend", "", &[]),
    ("GET /operator/statistics/data-production/breakdown", "no window", 400, "/operator/statistics/data-production/breakdown", "", &[]),
    ("GET /production/dashboard/snapshot", "workstation 0", 400, "/production/dashboard/snapshot?workstation_id=0", "", &[]),
    ("GET /production/dashboard/snapshot", "preview limit of the overview", 400, "/production/dashboard/snapshot?preview_limit=x", "", &[]),
    ("GET /production/dashboard/overview", "days below 1", 400, "/production/dashboard/overview?trend_days=0", "", &[]),
    (
        "GET /production/dashboard/overview",
        "distribution limit of the snapshot",
        400,
        "/production/dashboard/overview?distribution_limit=x",
        "",
        &[],
    ),
    (
        "GET /production/dashboard/batches/{id}/task-summary",
        "id is no integer",
        400,
        "/production/dashboard/batches/x/task-summary",
        "",
        &[],
    ),
    ("GET /production/dashboard/batches/{id}/task-summary", "unknown", 404, "/production/dashboard/batches/999/task-summary", "", &[]),
];

fn rows() -> Vec<Row> {
    let mut rows = vec![];
    for (registry, nameless, taken, orphan) in REGISTRIES {
        let mut row = |method: &str, one: bool, what, status, tail: &str, body: &'static str| {
            let name = format!("{method} /{registry}{}", if one { "/{id}" } else { "" });
            rows.push(Row { name, what, status, path: format!("/{registry}{tail}"), body, keys: &[] });
        };
        row("GET", false, "limit below 1", 400, "?limit=0", "");
        row("GET", false, "negative offset", 400, "?offset=-1", "");
        row("POST", false, "no body", 400, "", "");
        row("POST", false, "no name", 400, "", nameless);
        row("POST", false, "taken", 400, "", taken);
        if !orphan.is_empty() {
            row("POST", false, "unknown parent", 400, "", orphan);
        }
        row("GET", true, "id is no integer", 400, "/x", "");
        row("GET", true, "unknown", 404, "/999", "");
        row("PUT", true, "id is no integer", 400, "/x", "{}");
        row("PUT", true, "unknown", 404, "/999", r#"{"name": "x", "description": "x", "status": "active"}"#);
        row("DELETE", true, "id is no integer", 400, "/x", "");
        row("DELETE", true, "unknown", 404, "/999", "");
    }
    for (name, what, status, path, body, keys) in ROWS {
        let query = path.contains("/statistics/");
        let path = match (path.is_empty(), query, body.is_empty()) {
            (true, ..) => name.split_once(' ').expect("a method and a path").1.to_owned(),
            (_, true, false) => format!("{path}?{WINDOW}&{body}"),
            _ => (*path).to_owned(),
        };
        rows.push(Row { name: (*name).to_owned(), what, status: *status, path, body: if query { "" } else { body }, keys });
    }
    rows
}

/// Route, what is wrong, and the status, without a site: for the description.
pub fn names() -> Vec<(String, &'static str, u16)> {
    rows().into_iter().map(|row| (row.name, row.what, row.status)).collect()
}

#[tokio::test]
async fn every_refusal_of_the_registry_and_the_numbers_has_its_status_and_its_keys_and_changes_nothing() {
    let site = Site::new().await;
    let (seed, edge) = (&site.seed, &site.edge);
    let skill = edge.get("/api/v1/skills?slug=pick").await.1["items"][0]["id"].clone();
    let idler = edge.get("/api/v1/data_collectors?collector_operator_id=wu").await.1["items"][0]["id"].clone();
    let ids = [
        ("$factory", &seed.factory),
        ("$organization", &seed.organization),
        ("$scene", &seed.scene),
        ("$subscene", &seed.subscene),
        ("$skill", &skill),
        ("$sop", &seed.sop),
        ("$type", &seed.robot_type),
        ("$robot", &seed.robot),
        ("$collector", &seed.collector),
        ("$idler", &idler),
        ("$station", &seed.station),
    ];
    let filled = |text: &str| {
        let text = text.replace("$spare", &site.robot.to_string()).replace("$long", &"x".repeat(256));
        ids.iter().fold(text, |text, (name, id)| text.replace(name, &number(id).to_string()))
    };
    for row in rows() {
        let (route, place) = (of(&row.name), format!("{}, {}", row.name, row.what));
        let token = match (route.path, row.what) {
            (_, "no login") | ("/api/v1/devices/register" | "/api/v1/auth/login", _) => "",
            (_, "no workstation") => &site.idler,
            (path, _) if path.contains("/operator/") => &site.collector,
            _ => &edge.admin,
        };
        let body: Value = if row.body.is_empty() { Value::Null } else { serde_json::from_str(&filled(row.body)).expect("JSON") };
        let before = site.events().await;
        let (status, answer) = edge.send_as(token, route.method, &format!("/api/v1{}", filled(&row.path)), body).await;
        assert_eq!(status, row.status, "{place}: {answer}");
        for key in [route.error_key, "code", "detail", "request_id"] {
            assert!(answer[key].is_string(), "{place}: no {key} in {answer}");
        }
        for key in row.keys {
            assert!(!answer[*key].is_null(), "{place}: no {key} in {answer}");
        }
        assert_eq!(site.events().await, before, "{place}");
    }
    let bound = |robot: &str, collector: &str| serde_json::json!({"robot_id": filled(robot), "data_collector_id": filled(collector)});
    assert_eq!(edge.post("/api/v1/stations", bound("$robot", "$idler")).await.1["error"], "ROBOT_ALREADY_ASSIGNED");
    assert_eq!(edge.post("/api/v1/stations", bound("$spare", "$collector")).await.1["error"], "DATA_COLLECTOR_ALREADY_ASSIGNED");
}
