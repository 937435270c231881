//! Registry, lists and filters over REST; every statement behind them.

use keystone_edge::commands::devices::OpenLink;
use keystone_edge::commands::{
    access_records, bulk_qa, bulk_runs, deaths, fan_out, outside_jobs, params, processes, qa, requests, rivals, sessions, subscriptions,
    waits, webhooks,
};
use keystone_edge::domain::DeviceId;
use keystone_edge::domain::device::LinkKind;
use keystone_edge::outbox::{letters, subscribed};
use keystone_edge::projections::reads;
use serde_json::{Value, json};

use crate::harness::TestDatabase;
use crate::harness::edge::{TestEdge, number};

#[tokio::test]
async fn every_query_fits_the_schema() {
    let database = TestDatabase::new().await;
    let client = database.pool.get().await.unwrap();
    let mut wrong = vec![];
    for (name, statement) in reads::statements()
        .into_iter()
        .chain(rivals::statements())
        .chain(access_records::statements())
        .chain(sessions::statements())
        .chain(params::statements())
        .chain(letters::statements())
        .chain(bulk_runs::statements())
        .chain(bulk_qa::statements())
        .chain(outside_jobs::statements())
        .chain(qa::statements())
        .chain(deaths::statements())
        .chain(requests::statements())
        .chain(processes::statements())
        .chain(waits::statements())
        .chain(fan_out::statements())
        .chain(keystone_edge::commands::polling::statements())
        .chain(subscriptions::statements())
        .chain(webhooks::statements())
        .chain(subscribed::statements())
        .chain(keystone_edge::commands::registry::statements())
        .chain(keystone_edge::commands::sync::statements())
        .chain(keystone_edge::commands::copies::statements())
        .chain(keystone_edge::projections::statistics::statements())
        .chain([("homes of streams", keystone_edge::projections::homes::HOMES.to_owned())])
    {
        match client.prepare(&statement).await {
            // A column is found by its name: of two with the same one, the second is never read.
            Ok(prepared) => {
                let mut names: Vec<&str> = prepared.columns().iter().map(|column| column.name()).collect();
                names.sort_unstable();
                wrong.extend(names.windows(2).filter(|two| two[0] == two[1]).map(|two| format!("{name}: `{}` stands twice", two[0])));
            }
            Err(error) => {
                wrong.push(format!("{name}: {}\n{statement}", error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The ids in a list, in its order.
async fn ids(edge: &TestEdge, path: &str) -> Vec<Value> {
    let (status, body) = edge.get(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
}

#[tokio::test]
async fn entries_are_read_as_they_were_written() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    for (path, id) in [
        ("factories", &seed.factory),
        ("organizations", &seed.organization),
        ("scenes", &seed.scene),
        ("subscenes", &seed.subscene),
        ("sops", &seed.sop),
        ("robot_types", &seed.robot_type),
        ("robots", &seed.robot),
        ("data_collectors", &seed.collector),
        ("stations", &seed.station),
        ("orders", &seed.order),
    ] {
        let (status, one) = edge.get(&format!("/api/v1/{path}/{}", number(id))).await;
        assert_eq!((status, &one["id"]), (200, id), "{path}");
        let (_, list) = edge.get(&format!("/api/v1/{path}")).await;
        assert_eq!(list["total"], 1, "{path}");
        assert_eq!(list["items"][0]["id"], *id, "{path}");
        assert_eq!(edge.get(&format!("/api/v1/{path}/999")).await.0, 404);
        assert_eq!(edge.get(&format!("/api/v1/{path}/x")).await.0, 400);
    }

    let factory = edge.get(&format!("/api/v1/factories/{}", number(&seed.factory))).await.1;
    assert_eq!((&factory["timezone"], &factory["settings"], &factory["sceneCount"]), (&json!("UTC"), &Value::Null, &json!(1)));
    assert!(factory["slug"].as_str().unwrap().starts_with("fac-"));
    let station = edge.get(&format!("/api/v1/stations/{}", number(&seed.station))).await.1;
    assert_eq!(
        (&station["robot_name"], &station["collector_operator_id"], &station["status"]),
        (&json!("Arm"), &json!("li"), &json!("offline"))
    );
    assert!(seed.robot_type.is_number() && seed.robot.is_string());
    let order = edge.get(&format!("/api/v1/orders/{}", number(&seed.order))).await.1;
    assert_eq!(
        (&order["scene_name"], &order["organization_name"], &order["deadline"], &order["priority"]),
        (&json!("kitchen"), &json!("Acme"), &json!("2030-01-01T00:00:00Z"), &json!("normal"))
    );
    assert!(order.get("metadata").is_none());
}

#[tokio::test]
async fn names_are_taken_whatever_their_case() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    for (path, body) in [
        ("factories", json!({"name": "factory SHANGHAI"})),
        ("organizations", json!({"factory_id": seed.factory, "name": "ACME"})),
        ("subscenes", json!({"scene_id": seed.scene, "name": "Sink"})),
        ("skills", json!({"slug": "Pick"})),
        ("robot_types", json!({"name": "x", "model": "ARM-1"})),
        ("data_collectors", json!({"organization_id": seed.organization, "name": "x", "operator_id": "LI", "password": "x"})),
        ("orders", json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": "cups", "target_count": 1})),
    ] {
        let (status, body) = edge.post(&format!("/api/v1/{path}"), body).await;
        assert_eq!((status, &body["code"]), (400, &json!("name_taken")), "{path}: {body}");
    }
    let taken = edge.post("/api/v1/stations", json!({"robot_id": seed.robot, "data_collector_id": seed.collector})).await;
    assert_eq!((taken.0, &taken.1["error"]), (409, &json!("ROBOT_ALREADY_ASSIGNED")));
    assert!(taken.1["message"].is_string());
}

#[tokio::test]
async fn a_keyword_ranks_exact_before_prefix_before_the_rest() {
    let edge = TestEdge::start().await;
    let mut made = vec![];
    // Words so long that no factory's random slug has one in it.
    for name in ["a red cupboard", "cupboard", "cupboards", "100%", "back\\slash"] {
        made.push(edge.create("/api/v1/factories", json!({"name": name})).await["id"].clone());
    }
    assert_eq!(ids(&edge, "/api/v1/factories?keyword=CUPBOARD").await, [made[1].clone(), made[2].clone(), made[0].clone()]);
    assert_eq!(ids(&edge, "/api/v1/factories?search=cup_oard").await.len(), 3, "an underscore is a wildcard");
    assert_eq!(ids(&edge, "/api/v1/factories?q=back%5C").await, [made[4].clone()], "a backslash is a character");
    assert_eq!(ids(&edge, "/api/v1/factories?keyword=%25").await.len(), 5);
    assert_eq!(edge.get("/api/v1/factories?keyword=%00").await.0, 400);
}

#[tokio::test]
async fn pages_and_filters_select_and_count_the_same_rows() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    for number in 0..5 {
        let priority = if number % 2 == 0 { "low" } else { "urgent" };
        let order = json!({
            "organization_id": seed.organization, "scene_id": seed.scene, "name": format!("Order {number}"), "target_count": 1,
            "priority": priority,
        });
        edge.create("/api/v1/orders", order).await;
    }
    let (_, page) = edge.get("/api/v1/orders?limit=2&offset=2").await;
    assert_eq!((&page["total"], &page["hasNext"], &page["hasPrev"]), (&json!(6), &json!(true), &json!(true)));
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let (_, low) = edge.get("/api/v1/orders?priority=low,urgent&name=order%201,ORDER%202").await;
    assert_eq!(low["total"], 2);
    assert_eq!(edge.get(&format!("/api/v1/orders?ids={},999", number(&seed.order))).await.1["total"], 1);
    for bad in ["priority=soon", "status=gone", "limit=0", "ids=x", "scene_id=0"] {
        assert_eq!(edge.get(&format!("/api/v1/orders?{bad}")).await.0, 400, "{bad}");
    }
    assert_eq!(edge.get("/api/v1/batches?order_id=garbage").await.1["total"], 0);
    assert_eq!(edge.get("/api/v1/batches?status=garbage").await.0, 400);
    assert_eq!(edge.get("/api/v1/tasks?status=garbage").await.0, 400);
    assert_eq!(edge.get("/api/v1/episodes?limit=x&cloud_synced=perhaps").await.0, 200);
    assert_eq!(edge.get("/api/v1/episodes?created_at_from=yesterday").await.0, 400);
}

#[tokio::test]
async fn robots_are_filtered_by_what_is_connected_right_now() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    assert_eq!(edge.get("/api/v1/robots?connected=false").await.1["total"], 1);
    assert_eq!(edge.get("/api/v1/robots?connected=true").await.1["total"], 0);
    let device = DeviceId::parse("AB-F0001-T0001-000001").unwrap();
    let link = |kind| OpenLink { device: device.clone(), kind, remote: "10.0.0.1".into(), process: None };
    edge.execute(link(LinkKind::Recorder)).await;
    assert_eq!(edge.get("/api/v1/robots?connected=true").await.1["total"], 0, "both sockets are needed");
    edge.execute(link(LinkKind::Transfer)).await;
    assert_eq!(edge.get("/api/v1/robots?connected=1").await.1["items"][0]["connected"], true);
    assert_eq!(edge.get("/api/v1/robots?connected=false").await.1["total"], 0);
    assert_eq!(edge.get("/api/v1/robots?connected=true,false").await.1["total"], 1);
    assert_eq!(edge.get("/api/v1/robots?connected=maybe").await.0, 400);
    assert!(edge.get(&format!("/api/v1/robots/{}", number(&seed.robot))).await.1["connected_at"].is_string());
    assert_eq!(edge.get("/api/v1/devices/AB-F0001-T0001-000001/connection").await.1["connected"], true);
    assert_eq!(edge.get("/api/v1/devices/unknown/connection").await.1["connected"], false);
}

/// Every list that offers it, as the description says.
#[tokio::test]
async fn every_list_is_walked_from_place_to_place_and_what_is_added_meanwhile_moves_nothing() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    for number in 0..4 {
        let order =
            json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": format!("Cup {number} cups"), "target_count": 9});
        edge.create("/api/v1/orders", order).await;
        edge.create("/api/v1/skills", json!({"slug": format!("skill-{number}")})).await;
        edge.create("/api/v1/sops", json!({"slug": format!("sop-{number}"), "skill_sequence": []})).await;
        edge.create("/api/v1/scenes", json!({"factory_id": seed.factory, "name": format!("scene {number}")})).await;
        edge.create("/api/v1/factories", json!({"name": format!("factory {number}")})).await;
    }
    for _ in 0..3 {
        edge.create("/api/v1/batches", seed.batch(1)).await;
    }
    for _ in 0..3 {
        edge.create("/api/v1/subscriptions", json!({"url": "https://hooks.example/", "event_types": ["*"]})).await;
    }
    let (_, letters) = edge.post("/api/v1/dead-letters/replay/preview", json!({"everything": true})).await;
    let (_, run) = edge.post("/api/v1/dead-letters/replay/run", json!({"selection": letters["selection"]})).await;
    let (_, description) = edge.get("/api/v1/openapi.json").await;
    let lists: Vec<&String> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, item)| item["get"]["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "after")))
        .map(|(path, _)| path)
        // It grows as it is read; its own tests walk it.
        .filter(|path| *path != "/api/v1/audit")
        .collect();
    assert!(lists.len() >= 14, "{lists:?}");
    let mut walked = 0;
    for list in lists {
        let path = list.replace("{id}", "1").replace("{run_id}", run["run_id"].as_str().unwrap());
        for filter in ["", "keyword=cup", "keyword=a", "status=pending"] {
            let (status, whole) = edge.get(&format!("{path}?{filter}&limit=100")).await;
            if status == 400 {
                continue;
            }
            assert_eq!((status, &whole["next_after"]), (200, &Value::Null), "{path} {filter}: {whole}");
            let whole = whole["items"].as_array().unwrap().clone();
            let (mut found, mut after) = (vec![], String::new());
            loop {
                let (status, page) = edge.get(&format!("{path}?{filter}&limit=1{after}")).await;
                assert_eq!(status, 200, "{path} {filter}: {page}");
                assert_eq!(page["hasPrev"] == true, !after.is_empty(), "{path}: {page}");
                found.extend(page["items"].as_array().unwrap().clone());
                if found.len() == 1 && path == "/api/v1/orders" {
                    // Newer than everything: by offset, the next page would begin with a row that was there already.
                    let order = json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": format!("a cup {filter}"), "target_count": 9});
                    edge.create("/api/v1/orders", order).await;
                }
                assert_eq!(
                    page["next_after"].is_string(),
                    !after.is_empty() && page["hasNext"] == true || after.is_empty() && found.len() < whole.len(),
                    "{page}"
                );
                match page["next_after"].as_str() {
                    Some(next) => after = format!("&after={next}"),
                    None => break,
                }
            }
            walked += found.len();
            assert!(found.len() >= whole.len(), "{path} {filter}");
            assert!(
                found
                    .iter()
                    .map(|item| &item["id"])
                    .filter(|id| whole.iter().any(|item| item["id"] == **id))
                    .eq(whole.iter().map(|item| &item["id"])),
                "{path} {filter}: {found:?}"
            );
        }
    }
    assert!(walked > 40, "{walked}");

    let (_, page) = edge.get("/api/v1/orders?limit=1").await;
    let after = page["next_after"].as_str().unwrap();
    for bad in [
        &format!("orders?after={after}&offset=1"),
        "orders?after=x",
        &format!("tasks?after={after}"),
        &format!("episodes?after={after}"),
        "tasks/statistics/breakdown?after=x",
    ] {
        let (status, problem) = edge.get(&format!("/api/v1/{bad}")).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{bad}");
    }
    assert_eq!(edge.get(&format!("/api/v1/orders?after={after}&offset=0&limit=100")).await.0, 200);
}

#[tokio::test]
async fn a_factory_is_in_a_time_zone_that_there_is() {
    let edge = TestEdge::start().await;
    for (given, kept) in
        [(json!("asia/shanghai"), "Asia/Shanghai"), (json!("UTC"), "UTC"), (Value::Null, "UTC"), (json!("Etc/GMT+8"), "Etc/GMT+8")]
    {
        let (status, made) = edge.post("/api/v1/factories", json!({ "name": format!("F {given}"), "timezone": given })).await;
        assert_eq!((status, &made["timezone"]), (201, &json!(kept)), "{made}");
    }
    for given in ["Mars/Olympus", "UTC+8", "Beijing", "../etc/passwd"] {
        let (status, refused) = edge.post("/api/v1/factories", json!({ "name": given, "timezone": given })).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused["error_msg"].as_str().or(refused["detail"].as_str()).unwrap().contains("timezone"), "{refused}");
    }
}

/// A filter that is spelled wrongly does not mean everything, where the contract does not say so.
#[tokio::test]
async fn names_that_a_route_does_not_have_are_refused_but_on_the_contracts_routes() {
    let edge = TestEdge::start().await;
    for path in [
        "/api/v1/events",
        "/api/v1/events/export?format=csv",
        "/api/v1/events/stream",
        "/api/v1/dead-letters",
        "/api/v1/dead-letters/counts",
        "/api/v1/subscriptions",
        "/api/v1/subscriptions/1/deliveries",
        "/api/v1/subscriptions/1/poll",
        "/api/v1/data-ops/bulk-runs",
        "/api/v1/data-ops/bulk-runs/x/items",
        "/api/v1/inspection/queue",
        "/api/v1/qa/suites",
        "/api/v1/requests",
        "/api/v1/requests/x",
        "/api/v1/abandoned-executions",
    ] {
        let mark = if path.contains('?') { '&' } else { '?' };
        let (status, refused) = edge.get(&format!("{path}{mark}subsciber=x")).await;
        assert_eq!((status, &refused["field"]), (400, &json!("subsciber")), "{path}: {refused}");
    }
    for path in ["/api/v1/events/export?limit=1", "/api/v1/events/export?order=asc", "/api/v1/dead-letters?%6Fffset=0&x%20y=1"] {
        assert_eq!(edge.get(path).await.0, 400, "{path}");
    }
    for path in ["/api/v1/dead-letters?%6Fffset=0&after=", "/api/v1/episodes?subsciber=x", "/api/v1/orders?_=1", "/api/v1/qa/episodes?x=1"]
    {
        assert_eq!(edge.get(path).await.0, 200, "{path}");
    }
    for (path, twice) in [("/api/v1/events?category=task&category=device", "category"), ("/api/v1/dead-letters?limit=1&limit=2", "limit")] {
        let (status, refused) = edge.get(path).await;
        assert_eq!((status, &refused["field"]), (400, &json!(twice)), "{path}: {refused}");
    }
    assert_eq!(edge.get("/api/v1/events?content=task_id:1&content=task_id:2").await.0, 200);
    // Who may not ask is told that first.
    let unknown = edge.request("none", "GET", "/api/v1/events?subsciber=x").send().await.unwrap();
    assert_eq!(unknown.status(), 401);
}
