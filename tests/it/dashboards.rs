//! Dashboards of production: what they count, of whom, and who may look.

use keystone_edge::domain::TaskId;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::data_ops::{DEVICE, with_episodes};
use crate::factory::place_all;
use crate::harness::bench::Recording;
use crate::harness::edge::{DISPLAY_TOKEN, Seed, TestEdge, number};
use crate::production_statistics::{count_all, recount};

const BASE: &str = "/api/v1/production/dashboard";

async fn sql(edge: &TestEdge, sql: &str) {
    edge.database.pool.get().await.unwrap().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

async fn get_ok(edge: &TestEdge, path: &str) -> Value {
    let (status, body) = edge.get(&format!("{BASE}/{path}")).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn counted(edge: &TestEdge) {
    place_all(&edge.database.connector).await;
    count_all(&edge.database.pool).await;
}

/// Three episodes of one station, and an order beside it with nothing done.
async fn site(edge: &TestEdge) -> (Seed, Vec<i64>) {
    let recordings: Vec<Recording> = (0..3).map(|_| Recording::of(b"a recording".to_vec(), None)).collect();
    let (seed, tasks) = with_episodes(edge, &recordings).await;
    counted(edge).await;
    (seed, tasks.iter().map(|task| task.id).collect())
}

#[tokio::test]
async fn a_snapshot_counts_tasks_and_episodes_and_shows_what_is_under_way() {
    let edge = TestEdge::start().await;
    let (seed, _) = site(&edge).await;
    let order = json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": "More", "target_count": 5});
    let more = Seed { order: edge.create("/api/v1/orders", order).await["id"].clone(), ..seed };
    let created = edge.create("/api/v1/batches", more.batch(2)).await;
    let batch = number(&created["batch"]["id"]);
    let task = number(&created["tasks"][0]["id"]);
    sql(&edge, &format!("update tasks set status = 'in_progress', started_at = now() where id = {task}; update batches set status = 'active', started_at = now() where id = {batch}")).await;
    sql(&edge, "update episodes set qa_status = 'approved' where id = (select min(id) from episodes); update episodes set qa_status = 'failed' where id = (select max(id) from episodes)").await;
    sql(&edge, "update stations set status = 'active'").await;
    recount(&edge).await;
    let body = get_ok(&edge, "snapshot?trend_days=3").await;
    assert_eq!(
        body["tasks"],
        json!({"total": 5, "completed": 3, "in_progress": 1, "uploading": 0, "pending": 1, "ready": 0, "failed": 0, "cancelled": 0}),
        "{body}"
    );
    let trend = body["trend"].as_array().unwrap();
    assert_eq!(trend.len(), 3);
    let today = chrono::Utc::now().format("%m-%d").to_string();
    assert_eq!(trend[2], json!({"date": today, "total": 5, "completed": 3, "in_progress": 1, "uploading": 0, "pending": 1, "failed": 0}));
    assert_eq!(trend[0]["total"], 0, "days without a task are there");
    let scene = json!({"id": number(&more.scene).to_string(), "name": "kitchen", "value": 5});
    let sop = json!({"id": number(&more.sop).to_string(), "name": "wash@1.0.0", "value": 5});
    assert_eq!(body["distributions"], json!({"scene": [scene], "sop": [sop]}));
    assert_eq!(
        body["quality"],
        json!({"pass_rate": 50.0, "total_inspected": 2, "passed": 1, "failed": 0, "inspecting": 0, "pending_qa": 1})
    );
    assert_eq!(body["system"], json!({"operating_days": 1, "total_data_duration_sec": 15.37, "online_stations": 1}));
    let station = &body["stations"][0];
    assert_eq!(
        (
            &station["status"],
            &station["status_text"],
            &station["device_id"],
            &station["device_model"],
            &station["robot_name"],
            &station["collector_operator_id"]
        ),
        (&json!("active"), &json!("在线"), &json!(DEVICE), &json!("Arm"), &json!("Arm"), &json!("li"))
    );
    let shown = &body["active_batches"][0];
    assert_eq!(
        (&shown["id"], &shown["order_name"], &shown["scene_name"], &shown["task_count"], &shown["device_id"], &shown["collector_name"]),
        (&json!(batch.to_string()), &json!("More"), &json!("kitchen"), &json!(2), &json!(DEVICE), &json!("Li"))
    );
    let shown = &body["active_tasks"][0];
    assert_eq!(shown["id"], created["tasks"][0]["task_id"], "as devices know it");
    assert_eq!((&shown["scene_full"], &shown["sop_label"]), (&json!("kitchen@sink"), &json!("wash@1.0.0")));
    assert_eq!(body["scope"], json!({"role": "admin"}));
    assert_eq!(body["as_of"]["behind_s"], 0.0);
}

#[tokio::test]
async fn mn_24_an_overview_counts_every_active_batch_however_few_are_shown() {
    let edge = TestEdge::start().await;
    let (seed, _) = site(&edge).await;
    let order = json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": "More", "target_count": 9});
    let more = Seed { order: edge.create("/api/v1/orders", order).await["id"].clone(), ..seed };
    for _ in 0..3 {
        edge.create("/api/v1/batches", more.batch(1)).await;
    }
    sql(&edge, "update batches set status = 'active', started_at = now() where status = 'pending'").await;
    recount(&edge).await;
    let overview = get_ok(&edge, "overview?active_limit=1").await;
    assert_eq!(overview["summary"]["active_batches"], 3);
    assert_eq!(get_ok(&edge, "snapshot?active_limit=1").await["active_batches"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_overview_has_the_numbers_of_all_time_and_of_today() {
    let edge = TestEdge::start().await;
    let (seed, tasks) = site(&edge).await;
    sql(&edge, "update devices set recorder_open = true, transfer_open = true").await;
    sql(&edge, &format!("update tasks set created_at = created_at - interval '3 days', ended_at = ended_at - interval '2 days', completed_at = completed_at - interval '2 days' where id = {}", tasks[0])).await;
    let order = json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": "More", "target_count": 9});
    let more = Seed { order: edge.create("/api/v1/orders", order).await["id"].clone(), ..seed };
    let created = edge.create("/api/v1/batches", more.batch(1)).await;
    recount(&edge).await;
    let body = get_ok(&edge, "overview?trend_days=4").await;
    let summary = &body["summary"];
    for (key, value) in [
        ("total_tasks", json!(4)),
        ("total_episodes", json!(3)),
        ("today_tasks", json!(3)),
        ("today_episodes", json!(2)),
        ("completed_tasks", json!(2)),
        ("failed_tasks", json!(0)),
        ("in_progress_tasks", json!(0)),
        ("pending_tasks", json!(1)),
        ("cancelled_tasks", json!(0)),
        ("active_batches", json!(0)),
        ("total_stations", json!(1)),
        ("robot_online_rate", json!(100.0)),
        ("quality_pass_rate", json!(0.0)),
        ("total_data_duration_sec", json!(15.37)),
        ("total_data_size_bytes", json!(33)),
        ("today_data_duration_sec", json!(10.25)),
        ("today_data_size_bytes", json!(22)),
    ] {
        assert_eq!(summary[key], value, "{key}: {summary}");
    }
    let totals: Vec<i64> = body["trend"].as_array().unwrap().iter().map(|day| day["total"].as_i64().unwrap()).collect();
    assert_eq!(totals, [0, 1, 0, 2], "episodes, on the day on which their tasks ended");
    assert_eq!(
        body["task_status_distribution"],
        json!([{"status": "pending", "label": "待开始", "value": 1}, {"status": "completed", "label": "已完成", "value": 3}])
    );
    assert_eq!(body["quality"]["recent_failures"], json!([]));
    assert_eq!(body["devices"]["summary"], json!({"total": 1, "online": 1, "offline": 0, "online_rate": 100.0}));
    assert_eq!(body["stations"]["summary"]["total"], 1);
    let recent = body["recent_tasks"].as_array().unwrap();
    assert_eq!((recent.len(), &recent[0]["task_id"]), (4, &created["tasks"][0]["task_id"]), "what changed last comes first");
    assert_eq!(
        (&recent[0]["task_name"], &recent[0]["status_text"], &recent[0]["episode_id"]),
        (&json!("kitchen / sink"), &json!("待开始"), &json!(""))
    );
    assert_eq!(get_ok(&edge, "overview?recent_limit=2").await["recent_tasks"].as_array().unwrap().len(), 2);
    let previews = body["previews"].as_array().unwrap();
    assert_eq!((previews.len(), &previews[0]["status"], &previews[0]["duration_seconds"]), (3, &json!("completed"), &json!(5.12)));
    let path = previews[0]["preview_url"].as_str().unwrap();
    assert_eq!(edge.get(path).await.0, 200, "{path}");
}

#[tokio::test]
async fn mn_27_no_preview_is_offered_whose_link_would_be_refused() {
    let edge = TestEdge::start().await;
    site(&edge).await;
    sql(&edge, "update episodes set qa_status = 'failed' where id = (select max(id) from episodes); update episodes set edge_copy = 'deleted', edge_copy_gone = true, edge_copy_at = now() where id = (select min(id) from episodes)").await;
    recount(&edge).await;
    let body = get_ok(&edge, "overview").await;
    let previews = body["previews"].as_array().unwrap();
    assert_eq!(previews.len(), 1, "{previews:?}");
    for preview in previews {
        assert_eq!(edge.get(preview["preview_url"].as_str().unwrap()).await.0, 200);
    }
}

#[tokio::test]
async fn a_dashboard_shows_the_part_that_is_asked_for() {
    let edge = TestEdge::start().await;
    let (seed, _) = site(&edge).await;
    let id = |id: &Value| number(id).to_string();
    let (station, factory, organization) = (id(&seed.station), id(&seed.factory), id(&seed.organization));
    for (query, total) in [
        (format!("workstation_id={station}"), 3),
        (format!("factory_id={factory}&organization_id={organization}"), 3),
        (format!("workstation_id={station}&organization_id=99"), 0),
        ("workstation_id=99".into(), 0),
        ("factory_id=99".into(), 0),
    ] {
        let snapshot = get_ok(&edge, &format!("snapshot?{query}")).await;
        assert_eq!(snapshot["tasks"]["total"], total, "{query}");
        assert_eq!(snapshot["system"]["operating_days"], i64::from(total > 0), "{query}");
        assert_eq!(snapshot["trend"].as_array().unwrap().len(), 7);
        let overview = get_ok(&edge, &format!("overview?{query}")).await;
        assert_eq!(
            (&overview["summary"]["total_episodes"], overview["previews"].as_array().unwrap().len() as i64),
            (&json!(total), total),
            "{query}"
        );
        assert_eq!(overview["recent_tasks"].as_array().unwrap().len() as i64, total, "{query}");
        assert_eq!(overview["devices"]["summary"]["total"], i64::from(total > 0), "{query}");
    }
    let scope = get_ok(&edge, &format!("snapshot?workstation_id={station}")).await["scope"].clone();
    assert_eq!(scope, json!({"role": "admin", "workstation_id": station}));
    for (query, field) in [
        ("workstation_id=x", "workstation_id"),
        ("factory_id=0", "factory_id"),
        ("organization_id=-1", "organization_id"),
        ("trend_days=0", "trend_days"),
        ("active_limit=x", "active_limit"),
        ("distribution_limit=0", "distribution_limit"),
        ("recent_limit=0", "recent_limit"),
        ("preview_limit=-2", "preview_limit"),
        ("timezone_offset=8", "timezone_offset"),
    ] {
        for page in ["snapshot", "overview"] {
            let (status, body) = edge.get(&format!("{BASE}/{page}?{query}")).await;
            assert_eq!((status, body["field"].as_str()), (400, Some(field)), "{page}?{query}: {body}");
        }
    }
    assert_eq!(
        get_ok(&edge, "snapshot?trend_days=500").await["trend"].as_array().unwrap().len(),
        31,
        "a larger number counts as the largest"
    );
}

#[tokio::test]
async fn a_data_collector_sees_every_workstation_they_were_ever_bound_to() {
    let edge = TestEdge::start().await;
    let (seed, _) = site(&edge).await;
    let idler = json!({"organization_id": seed.organization, "name": "Wu", "operator_id": "wu", "password": "wu's password"});
    edge.create("/api/v1/data_collectors", idler).await;
    let token = async |account: &str| {
        edge.log_in(account, &format!("{account}'s password")).await.1["access_token"].as_str().expect("a token").to_owned()
    };
    let (own, idler) = (token("li").await, token("wu").await);
    let asked = async |token: &str, path: &str| edge.send_as(token, "GET", &format!("{BASE}/{path}"), Value::Null).await;
    let (status, body) = asked(&own, "snapshot?workstation_id=99&factory_id=99").await;
    assert_eq!((status, &body["tasks"]["total"]), (200, &json!(3)), "filters of the request are dropped: {body}");
    assert_eq!(body["scope"], json!({"role": "data_collector", "workstation_id": number(&seed.station).to_string()}));
    let batch = edge.get("/api/v1/batches").await.1["items"][0]["id"].as_str().unwrap().to_owned();
    let summary = format!("batches/{batch}/task-summary");
    assert_eq!(asked(&own, &summary).await.1["items"][0]["total"], 3);

    for page in ["snapshot", "overview"] {
        let (status, body) = asked(&idler, page).await;
        assert_eq!(status, 200);
        assert_eq!(body["scope"], json!({"role": "data_collector", "warning": "workstation not assigned"}));
        assert_eq!(body["trend"], json!([]));
    }
    let nothing = asked(&idler, "overview").await.1;
    assert_eq!(
        (&nothing["summary"]["total_tasks"], &nothing["previews"], &nothing["task_status_distribution"]),
        (&json!(0), &json!([]), &json!([]))
    );
    assert_eq!(asked(&idler, &summary).await, (200, json!({"batch_id": batch, "items": []})));

    // Bound elsewhere now: what was made at the station before stays theirs.
    sql(&edge, "update stations set is_current = false").await;
    let robot = json!({"robot_type_id": seed.robot_type.to_string(), "factory_id": seed.factory, "device_id": "AB-2"});
    let robot = edge.create("/api/v1/robots", robot).await["id"].clone();
    let station = edge.create("/api/v1/stations", json!({"robot_id": robot, "data_collector_id": seed.collector})).await["id"].clone();
    let (_, body) = asked(&own, "snapshot").await;
    assert_eq!((&body["tasks"]["total"], &body["scope"]["workstation_id"]), (&json!(3), &json!(number(&station).to_string())));
    assert_eq!(body["stations"].as_array().unwrap().len(), 1, "workstations of now");
}

#[tokio::test]
async fn a_batch_is_shown_by_procedure_and_place() {
    let edge = TestEdge::start().await;
    let (seed, tasks) = site(&edge).await;
    let batch = edge.get(&format!("/api/v1/tasks/{}", TaskId(tasks[0]))).await.1["batch_id"].as_str().unwrap().to_owned();
    sql(&edge, &format!("update tasks set status = 'failed', subscene_name = 'aisle' where id = {}", tasks[2])).await;
    let body = get_ok(&edge, &format!("batches/{batch}/task-summary")).await;
    let group = |subscene: &str, total: i64, completed: i64, failed: i64| {
        json!({
            "sop_id": number(&seed.sop).to_string(), "sop_label": "wash@1.0.0", "scene_name": "kitchen", "subscene_name": subscene, "total": total,
            "statuses": {"pending": 0, "ready": 0, "in_progress": 0, "uploading": 0, "completed": completed, "failed": failed, "cancelled": 0},
        })
    };
    assert_eq!(body, json!({"batch_id": batch, "items": [group("aisle", 1, 0, 1), group("sink", 2, 2, 0)]}));
    assert_eq!(edge.get(&format!("{BASE}/batches/999/task-summary")).await.0, 404);
    for bad in ["x", "0", "-1"] {
        assert_eq!(edge.get(&format!("{BASE}/batches/{bad}/task-summary")).await.0, 400);
    }
}

#[tokio::test]
async fn a_display_opens_the_dashboards_and_nothing_else() {
    let edge = TestEdge::start().await;
    let (seed, _) = site(&edge).await;
    let asked = async |edge: &TestEdge, shown: &str, path: &str| {
        let response = edge.request("", "GET", path).header(AUTHORIZATION, shown).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap_or_default())
    };
    let token = format!("Display {DISPLAY_TOKEN}");
    let batch = edge.get("/api/v1/batches").await.1["items"][0]["id"].as_str().unwrap().to_owned();
    for path in [format!("{BASE}/snapshot"), format!("{BASE}/overview"), format!("{BASE}/batches/{batch}/task-summary")] {
        for (shown, status) in [
            (token.clone(), 200),
            (format!("dISPLAY  {DISPLAY_TOKEN} "), 200),
            (format!("Display {DISPLAY_TOKEN}x"), 401),
            ("Display".into(), 401),
            ("Display ".into(), 401),
            (format!("Bearer {DISPLAY_TOKEN}"), 401),
        ] {
            assert_eq!(asked(&edge, &shown, &path).await.0, status, "{path} {shown}");
        }
    }
    let (_, overview) = asked(&edge, &token, &format!("{BASE}/overview?factory_id={}", number(&seed.factory))).await;
    assert_eq!(overview["scope"], json!({"role": "display", "factory_id": number(&seed.factory).to_string()}));
    assert_eq!(
        (&overview["summary"]["total_episodes"], &overview["previews"][0]["preview_url"]),
        (&json!(3), &json!("")),
        "it may ask for no link"
    );
    for path in ["/api/v1/orders", "/api/v1/admin/statistics/data-production/summary", "/api/v1/auth/me", "/api/v1/episodes/1/presign"] {
        assert_eq!(asked(&edge, &token, path).await.0, 401, "{path}");
    }
    // Nobody else looks at them without a login, and inspectors have no part in it.
    assert_eq!(edge.send_as("", "GET", &format!("{BASE}/snapshot"), Value::Null).await.0, 401);

    let without = TestEdge::start_with(|settings| settings.display_token = None).await;
    for shown in [token.as_str(), "Display ", "Display"] {
        assert_eq!(asked(&without, shown, &format!("{BASE}/snapshot")).await.0, 401, "switched off: {shown}");
    }
}
