//! Every refusal of the contract: what is asked, which status comes, which keys stand beside the text.
//! Nothing is changed by any of them.

use serde_json::{Value, json};

use super::{World, number, of};
use crate::storage::Shelf;

/// Route, what is wrong, the status.
type Name = (&'static str, &'static str, u16);

/// A request that is refused.
struct Row {
    name: Name,
    token: String,
    path: String,
    body: Value,
    /// Keys beside the text, with a value of their JSON type.
    extra: Value,
}

/// All rows, without a world: for the description.
pub fn names() -> Vec<Name> {
    NAMES.to_vec()
}

/// What stands in the contract's tables; `rows` says how each is brought about.
const NAMES: &[Name] = &[
    ("GET /orders", "limit is no integer", 400),
    ("GET /orders", "limit below 1", 400),
    ("GET /orders", "negative offset", 400),
    ("GET /orders", "unknown status", 400),
    ("GET /orders", "unknown priority", 400),
    ("GET /orders", "ids are no integers", 400),
    ("GET /orders", "too many items", 400),
    ("POST /orders", "no body", 400),
    ("POST /orders", "ids with decimals", 400),
    ("POST /orders", "unknown organization", 400),
    ("POST /orders", "unknown scene", 400),
    ("POST /orders", "empty name", 400),
    ("POST /orders", "target 0", 400),
    ("POST /orders", "target beyond 32 bits", 400),
    ("POST /orders", "unknown priority", 400),
    ("POST /orders", "deadline is no time", 400),
    // `decided`: MN-20; the contract's server answers 500.
    ("POST /orders", "duplicate name", 400),
    ("GET /orders/{id}", "id is no integer", 400),
    ("GET /orders/{id}", "unknown", 404),
    ("GET /orders/{id}", "id 0", 404),
    ("PUT /orders/{id}", "unknown", 404),
    ("PUT /orders/{id}", "nothing to change", 400),
    ("PUT /orders/{id}", "scene", 400),
    ("PUT /orders/{id}", "metadata is no object", 400),
    ("PUT /orders/{id}", "unknown status", 400),
    ("PUT /orders/{id}", "target below what is completed", 400),
    // `decided`: one explicit policy instead of any status from any.
    ("PUT /orders/{id}", "completed by hand", 409),
    ("DELETE /orders/{id}", "unknown", 404),
    ("DELETE /orders/{id}", "has batches", 400),
    ("GET /batches", "limit 0", 400),
    ("GET /batches", "unknown status", 400),
    ("GET /batches/{id}", "id is no integer", 400),
    ("GET /batches/{id}", "unknown", 404),
    ("GET /batches/{id}/tasks", "id 0", 400),
    ("GET /batches/{id}/tasks", "unknown", 404),
    ("POST /batches", "an id that is none", 400),
    ("POST /batches", "no groups", 400),
    ("POST /batches", "a pair twice", 400),
    ("POST /batches", "quantity 0", 400),
    ("POST /batches", "more than 1000", 400),
    ("POST /batches", "unknown order", 400),
    ("POST /batches", "order completed", 409),
    ("POST /batches", "quota", 400),
    ("POST /batches", "unknown workstation", 400),
    ("POST /batches", "unknown SOP", 400),
    ("POST /batches", "unknown subscene", 400),
    ("POST /batches/{id}/tasks", "unknown", 404),
    ("POST /batches/{id}/tasks", "negative quantity", 400),
    ("POST /batches/{id}/tasks", "no groups", 400),
    ("POST /batches/{id}/tasks", "below what is locked", 400),
    ("POST /batches/{id}/tasks", "batch over", 409),
    ("POST /batches/{id}/tasks", "quota", 400),
    ("PATCH /batches/{id}", "another status", 400),
    ("PATCH /batches/{id}", "no body", 400),
    ("PATCH /batches/{id}", "unknown", 404),
    ("PATCH /batches/{id}", "a second time", 409),
    ("DELETE /batches/{id}", "unknown", 404),
    ("DELETE /batches/{id}", "active", 409),
    ("POST /batches/{id}/recall", "unknown", 404),
    ("POST /batches/{id}/recall", "pending", 409),
    ("POST /batches/{id}/complete-tasks", "administrator", 403),
    ("POST /batches/{id}/complete-tasks", "no workstation", 404),
    ("POST /batches/{id}/complete-tasks", "unknown batch", 404),
    ("POST /batches/{id}/complete-tasks", "quantity 0", 400),
    ("POST /batches/{id}/complete-tasks", "no body", 400),
    ("POST /batches/{id}/complete-tasks", "batch over", 409),
    ("POST /batches/{id}/complete-tasks", "more than the batch has", 400),
    ("POST /batches/{id}/complete-tasks", "unknown pair", 404),
    ("POST /batches/{id}/complete-tasks", "fewer pending", 400),
    ("GET /tasks", "unknown status", 400),
    ("GET /tasks/{id}", "id is no integer", 400),
    ("GET /tasks/{id}", "id 0", 400),
    ("GET /tasks/{id}", "unknown", 404),
    ("DELETE /tasks/{id}", "unknown", 404),
    ("DELETE /tasks/{id}", "completed", 409),
    ("GET /tasks/{id}/config", "unknown", 404),
    ("GET /tasks/{id}/config", "not pending", 409),
    ("POST /tasks", "no order", 400),
    ("POST /tasks", "quantity beyond 1000", 400),
    ("POST /tasks", "unknown workstation", 400),
    ("POST /tasks", "quota", 400),
    ("POST /tasks", "order completed", 400),
    ("GET /tasks/statistics/breakdown", "unknown dimension", 400),
    ("GET /tasks/statistics/breakdown", "unknown status", 400),
    ("GET /tasks/statistics/breakdown", "end before start", 400),
    ("GET /episodes", "time is none", 400),
    ("GET /episodes/{id}", "id is no integer", 400),
    ("GET /episodes/{id}", "unknown", 404),
    ("GET /episodes/{id}/presign", "unknown kind", 400),
    ("GET /episodes/{id}/presign", "unknown", 404),
    ("GET /storage/presign", "no bucket", 400),
    ("GET /storage/presign", "lifetime too long", 400),
    ("GET /storage/object", "leads out of the bucket", 400),
    ("GET /storage/object", "unknown", 404),
    ("GET /storage/object", "link that is none", 401),
    ("POST /callbacks/start", "no task", 400),
    ("POST /callbacks/finish", "no path", 400),
    ("POST /callbacks/start", "no token", 401),
    ("POST /callbacks/finish", "no token", 401),
    ("POST /callbacks/finish", "of another device", 409),
    ("POST /callbacks/finish", "not configured", 409),
    ("POST /callbacks/finish", "cancelled", 409),
];

async fn rows(world: &World) -> Vec<Row> {
    let (admin, seed) = (&world.edge.admin, &world.seed);
    let with = |mut body: Value, change: Value| {
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        body
    };
    let order = json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": "New", "target_count": 3});
    let placed = number(&seed.order);
    // A batch with one task completed, one pending; one that is cancelled; one whose order is completed.
    let (worked_order, worked, worked_tasks) = world.batch("Worked", 2).await;
    world.complete(worked, 1).await;
    let (_, pending, pending_tasks) = world.batch("Pending", 2).await;
    let (_, over, over_tasks) = world.batch("Over", 1).await;
    let public_id = world.edge.get(&format!("/api/v1/tasks/{}", over_tasks[0])).await.1["task_id"].clone();
    let other_id = world.edge.get(&format!("/api/v1/tasks/{}", pending_tasks[0])).await.1["task_id"].clone();
    world.cancel(over).await;
    let finished = world.order("Finished", 1).await;
    let batch = world.edge.create("/api/v1/batches", world.batch_body(finished, 1)).await;
    world.complete(number(&batch["batch"]["id"]), 1).await;
    let small = world.order("Small", 2).await;
    let filled = number(&world.edge.create("/api/v1/batches", world.batch_body(small, 2)).await["batch"]["id"]);

    let batch_of = |order: i64, quantity: i64| world.batch_body(order, quantity);
    let groups = |groups: Value| json!({"task_groups": groups});
    let single = json!({"order_id": placed, "workstation_id": number(&seed.station), "sop_id": number(&seed.sop),
                        "subscene_id": number(&seed.subscene)});
    let current = || json!({"current_status": "", "because": {}});
    let mut rows: Vec<Row> = vec![];
    let mut row = |route: &str, what: &str, path: String, body: Value, extra: Value| {
        let name = NAMES.iter().find(|name| name.0 == route && name.1 == what).unwrap_or_else(|| panic!("no row {route}: {what}"));
        rows.push(Row { name: *name, token: admin.clone(), path, body, extra });
    };
    let none = Value::Null;

    for (what, query) in [
        ("limit is no integer", "limit=x"),
        ("limit below 1", "limit=0"),
        ("negative offset", "offset=-1"),
        ("unknown status", "status=lost"),
        ("unknown priority", "priority=soon"),
        ("ids are no integers", "ids=1,x"),
    ] {
        row("GET /orders", what, format!("/orders?{query}"), none.clone(), none.clone());
    }
    row("GET /orders", "too many items", format!("/orders?name={}", vec!["a"; 101].join(",")), none.clone(), none.clone());
    for (what, change) in [
        ("ids with decimals", json!({"organization_id": 1.5})),
        ("unknown organization", json!({"organization_id": "999"})),
        ("unknown scene", json!({"scene_id": "999"})),
        ("empty name", json!({"name": " "})),
        ("target 0", json!({"target_count": 0})),
        ("target beyond 32 bits", json!({"target_count": 3_000_000_000_i64})),
        ("unknown priority", json!({"priority": "soon"})),
        ("deadline is no time", json!({"deadline": "tomorrow"})),
        ("duplicate name", json!({"name": "cUPS"})),
    ] {
        row("POST /orders", what, "/orders".into(), with(order.clone(), change), none.clone());
    }
    row("POST /orders", "no body", "/orders".into(), none.clone(), none.clone());
    for (what, id) in [("id is no integer", "x"), ("unknown", "999"), ("id 0", "0")] {
        row("GET /orders/{id}", what, format!("/orders/{id}"), none.clone(), none.clone());
    }
    row("PUT /orders/{id}", "unknown", "/orders/999".into(), json!({"name": "a"}), none.clone());
    for (what, body) in [
        ("nothing to change", json!({"organization_id": "1"})),
        ("scene", json!({"scene_id": "1", "name": "a"})),
        ("metadata is no object", json!({"metadata": 3})),
        ("unknown status", json!({"status": "lost"})),
    ] {
        row("PUT /orders/{id}", what, format!("/orders/{placed}"), body, none.clone());
    }
    row("PUT /orders/{id}", "completed by hand", format!("/orders/{placed}"), json!({"status": "completed"}), current());
    let two = world.batch("Two done", 3).await;
    world.complete(two.1, 2).await;
    row(
        "PUT /orders/{id}",
        "target below what is completed",
        format!("/orders/{}", two.0),
        json!({"target_count": 1}),
        json!({"completed_count": 0}),
    );
    row("DELETE /orders/{id}", "unknown", "/orders/999".into(), none.clone(), none.clone());
    row("DELETE /orders/{id}", "has batches", format!("/orders/{worked_order}"), none.clone(), none.clone());

    row("GET /batches", "limit 0", "/batches?limit=0".into(), none.clone(), none.clone());
    row("GET /batches", "unknown status", "/batches?status=lost".into(), none.clone(), none.clone());
    row("GET /batches/{id}", "id is no integer", "/batches/x".into(), none.clone(), none.clone());
    row("GET /batches/{id}", "unknown", "/batches/999".into(), none.clone(), none.clone());
    row("GET /batches/{id}/tasks", "id 0", "/batches/0/tasks".into(), none.clone(), none.clone());
    row("GET /batches/{id}/tasks", "unknown", "/batches/999/tasks".into(), none.clone(), none.clone());
    let group = world.group(1);
    for (what, body) in [
        ("an id that is none", with(batch_of(placed, 1), json!({"order_id": format!("{placed}.0")}))),
        ("no groups", with(batch_of(placed, 1), groups(json!([])))),
        ("a pair twice", with(batch_of(placed, 1), groups(json!([group, group])))),
        ("quantity 0", batch_of(placed, 0)),
        ("more than 1000", batch_of(placed, 1001)),
        ("unknown order", batch_of(999, 1)),
        ("unknown workstation", with(batch_of(placed, 1), json!({"workstation_id": 999}))),
        ("unknown SOP", with(batch_of(placed, 1), groups(json!([with(group.clone(), json!({"sop_id": 999}))])))),
        ("unknown subscene", with(batch_of(placed, 1), groups(json!([with(group.clone(), json!({"subscene_id": 999}))])))),
    ] {
        row("POST /batches", what, "/batches".into(), body, none.clone());
    }
    row("POST /batches", "order completed", "/batches".into(), batch_of(finished, 1), current());
    let quota = json!({"target_count": 0, "task_count": 0, "remaining": 0, "requested": 0});
    row("POST /batches", "quota", "/batches".into(), batch_of(small, 1), quota.clone());

    let adjust = |batch: i64| format!("/batches/{batch}/tasks");
    row("POST /batches/{id}/tasks", "unknown", adjust(999), groups(json!([group])), none.clone());
    row("POST /batches/{id}/tasks", "negative quantity", adjust(pending), groups(json!([world.group(-1)])), none.clone());
    row("POST /batches/{id}/tasks", "no groups", adjust(pending), json!({}), none.clone());
    row("POST /batches/{id}/tasks", "below what is locked", adjust(worked), groups(json!([world.group(0)])), json!({"locked": 0}));
    row("POST /batches/{id}/tasks", "batch over", adjust(over), groups(json!([group])), current());
    let room = json!({"target_count": 0, "order_task_count": 0, "current_batch_task_count": 0, "max_batch_target": 0,
                      "requested_batch_task_count": 0, "remaining_assignable": 0});
    row("POST /batches/{id}/tasks", "quota", adjust(filled), groups(json!([world.group(3)])), room);

    row("PATCH /batches/{id}", "another status", format!("/batches/{pending}"), json!({"status": "active"}), none.clone());
    row("PATCH /batches/{id}", "no body", format!("/batches/{pending}"), none.clone(), none.clone());
    row("PATCH /batches/{id}", "unknown", "/batches/999".into(), json!({"status": "cancelled"}), none.clone());
    row("PATCH /batches/{id}", "a second time", format!("/batches/{over}"), json!({"status": "cancelled"}), current());
    row("DELETE /batches/{id}", "unknown", "/batches/999".into(), none.clone(), none.clone());
    row("DELETE /batches/{id}", "active", format!("/batches/{worked}"), none.clone(), none.clone());
    row("POST /batches/{id}/recall", "unknown", "/batches/999/recall".into(), none.clone(), none.clone());
    row("POST /batches/{id}/recall", "pending", format!("/batches/{pending}/recall"), none.clone(), current());

    let done = |batch: i64| format!("/batches/{batch}/complete-tasks");
    let complete = "POST /batches/{id}/complete-tasks";
    row(complete, "administrator", done(pending), group.clone(), none.clone());
    row(complete, "no workstation", done(pending), group.clone(), none.clone());
    row(complete, "unknown batch", done(999), group.clone(), none.clone());
    row(complete, "quantity 0", done(pending), world.group(0), none.clone());
    row(complete, "no body", done(pending), none.clone(), none.clone());
    let numbers = json!({"current_status": "", "completed_count": 0, "task_count": 0});
    row(complete, "batch over", done(over), group.clone(), numbers);
    row(complete, "more than the batch has", done(pending), world.group(9), json!({"task_count": 0, "requested": 0}));
    row(complete, "unknown pair", done(pending), with(group.clone(), json!({"sop_id": 999})), none.clone());
    row(complete, "fewer pending", done(worked), world.group(2), json!({"pending_count": 0, "requested": 0}));

    row("GET /tasks", "unknown status", "/tasks?status=lost".into(), none.clone(), none.clone());
    for (what, id) in [("id is no integer", "x"), ("id 0", "0"), ("unknown", "999999")] {
        row("GET /tasks/{id}", what, format!("/tasks/{id}"), none.clone(), none.clone());
    }
    row("DELETE /tasks/{id}", "unknown", "/tasks/999999".into(), none.clone(), none.clone());
    row("DELETE /tasks/{id}", "completed", format!("/tasks/{}", worked_tasks[0]), none.clone(), none.clone());
    row("GET /tasks/{id}/config", "unknown", "/tasks/999999/config".into(), none.clone(), none.clone());
    let not_pending = json!({"code": "", "current_status": ""});
    row("GET /tasks/{id}/config", "not pending", format!("/tasks/{}/config", worked_tasks[0]), none.clone(), not_pending);
    for (what, change) in [
        ("no order", json!({"order_id": 0})),
        ("quantity beyond 1000", json!({"quantity": 1001})),
        ("unknown workstation", json!({"workstation_id": 999})),
        ("quota", json!({"order_id": small})),
        ("order completed", json!({"order_id": finished})),
    ] {
        row("POST /tasks", what, "/tasks".into(), with(single.clone(), change), none.clone());
    }
    for (what, query) in [
        ("unknown dimension", "dimension=robot"),
        ("unknown status", "status=lost"),
        ("end before start", "start_time=2026-01-02T00:00:00Z&end_time=2026-01-01T00:00:00Z"),
    ] {
        row("GET /tasks/statistics/breakdown", what, format!("/tasks/statistics/breakdown?{query}"), none.clone(), none.clone());
    }

    row("GET /episodes", "time is none", "/episodes?created_at_from=x".into(), none.clone(), none.clone());
    row("GET /episodes/{id}", "id is no integer", "/episodes/x".into(), none.clone(), none.clone());
    row("GET /episodes/{id}", "unknown", "/episodes/999".into(), none.clone(), none.clone());
    row("GET /episodes/{id}/presign", "unknown kind", "/episodes/1/presign?kind=video".into(), none.clone(), none.clone());
    row("GET /episodes/{id}/presign", "unknown", "/episodes/999/presign".into(), none.clone(), none.clone());
    let bucket = &world.edge.objects.settings.bucket;
    row("GET /storage/presign", "no bucket", "/storage/presign?object=a".into(), none.clone(), none.clone());
    let long = format!("/storage/presign?bucket={bucket}&object=a.mcap&expires_seconds=3601");
    row("GET /storage/presign", "lifetime too long", long, none.clone(), none.clone());
    let object = |key: &str| format!("/storage/object?bucket={bucket}&object={key}");
    row("GET /storage/object", "leads out of the bucket", object("../x"), none.clone(), none.clone());
    row("GET /storage/object", "unknown", object("a.mcap"), none.clone(), none.clone());
    row("GET /storage/object", "link that is none", object("a.mcap&dl_token=x"), none.clone(), none.clone());

    let device = "AB-F0001-T0001-000001";
    row("POST /callbacks/start", "no task", "/callbacks/start".into(), json!({"device_id": device}), none.clone());
    let finish = |task: &Value, device: &str| json!({"task_id": task, "device_id": device, "output_path": "/x.mcap"});
    row("POST /callbacks/finish", "no path", "/callbacks/finish".into(), json!({"task_id": other_id, "device_id": device}), none.clone());
    let link = |task: &Value, device: &str| world.edge.callback("finish", task.as_str().expect("an id"), device).replace("/api/v1", "");
    row("POST /callbacks/start", "no token", "/callbacks/start".into(), json!({"task_id": other_id, "device_id": device}), none.clone());
    row("POST /callbacks/finish", "no token", "/callbacks/finish".into(), finish(&other_id, device), none.clone());
    row("POST /callbacks/finish", "of another device", link(&other_id, "AB-OTHER"), finish(&other_id, "AB-OTHER"), none.clone());
    row("POST /callbacks/finish", "not configured", link(&other_id, device), finish(&other_id, device), json!({"current_status": ""}));
    row("POST /callbacks/finish", "cancelled", link(&public_id, device), finish(&public_id, device), none);

    for row in &mut rows {
        row.token = match row.name {
            ("POST /batches/{id}/complete-tasks", "administrator", _) => admin.clone(),
            ("POST /batches/{id}/complete-tasks", "no workstation", _) => world.idler.clone(),
            ("POST /batches/{id}/complete-tasks", _, _) => world.collector.clone(),
            (route, _, _) if route.contains("/callbacks/") => String::new(),
            _ => admin.clone(),
        };
    }
    rows
}

fn same_type(wanted: &Value, found: &Value) -> bool {
    match wanted {
        Value::String(_) => found.is_string(),
        Value::Number(_) => found.is_number(),
        Value::Object(_) => found.is_object(),
        other => panic!("no row asks for {other}"),
    }
}

#[tokio::test]
async fn every_refusal_has_its_status_and_its_keys_and_changes_nothing() {
    let world = World::new().await;
    let rows = rows(&world).await;
    let tried: Vec<_> = rows.iter().map(|row| row.name).collect();
    let left: Vec<_> = NAMES.iter().filter(|name| !tried.contains(name)).collect();
    assert!(left.is_empty(), "nobody tries {left:?}");
    for row in rows {
        let (route, (name, what, wanted)) = (of(row.name.0), row.name);
        let before = world.events().await;
        let (status, answer) = world.edge.send_as(&row.token, route.method, &format!("/api/v1{}", row.path), row.body).await;
        assert_eq!(status, wanted, "{name}, {what}: {answer}");
        for key in [route.error_key, "code", "detail", "request_id"] {
            assert!(answer[key].is_string(), "{name}, {what}: no {key} in {answer}");
        }
        let other = if route.error_key == "error" { "error_msg" } else { "error" };
        assert!(answer.get(other).is_none(), "{name}, {what}: {answer}");
        for (key, value) in row.extra.as_object().into_iter().flatten() {
            assert!(same_type(value, &answer[key]), "{name}, {what}: {key} in {answer}");
        }
        // What a device says is recorded whether or not it is right; nothing else leaves a trace.
        let traces = if name.contains("/callbacks/") { 1 } else { 0 };
        let events = world.events().await - before;
        assert!((0..=traces).contains(&events), "{name}, {what}: {events} events");
    }
}

#[tokio::test]
async fn a_collector_of_another_workstation_cannot_complete_tasks() {
    let world = World::new().await;
    let robot_type = number(&world.seed.robot_type).to_string();
    let robot = json!({"robot_type_id": robot_type, "factory_id": world.seed.factory, "device_id": "AB-F0001-T0001-000002"});
    let robot = world.edge.create("/api/v1/robots", robot).await["id"].clone();
    let (_, idlers) = world.edge.get("/api/v1/data_collectors?operator_id=wu").await;
    let station = json!({"robot_id": robot, "data_collector_id": idlers["items"][0]["id"]});
    world.edge.create("/api/v1/stations", station).await;
    let (_, batch, _) = world.batch("Theirs", 1).await;
    let path = format!("/api/v1/batches/{batch}/complete-tasks");
    let (status, answer) = world.edge.send_as(&world.idler, "POST", &path, world.group(1)).await;
    assert_eq!((status, &answer["code"]), (403, &json!("not_your_workstation")), "{answer}");
}

#[tokio::test]
async fn a_blocked_episode_says_what_is_wrong_with_it() {
    let shelf = Shelf::of(10).await;
    shelf.judge("failed").await;
    let (status, answer) = shelf.edge.get(&format!("/api/v1/episodes/{}/presign", shelf.episode)).await;
    assert_eq!((status, &answer["quality_flag"]), (409, &json!("too dark")), "{answer}");
    let (status, _) = shelf.edge.get(&format!("/api/v1/episodes/{}/presign?kind=sidecar", shelf.episode)).await;
    assert_eq!(status, 200);
}
