//! What the registry must not do, beside what `registry` shows: a failed look-up is no answer, and who binds is decided under the constraint.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::edge::{TestEdge, number};

/// Asks while a table is away: a failure is told as one, names nothing of ours, and leaves no trace.
async fn fails_while_away(edge: &TestEdge, table: &str, asked: &[(&str, String, Value)]) {
    let client = edge.database.pool.get().await.unwrap();
    let events = async || client.query_one("select count(*) from events", &[]).await.unwrap().get::<_, i64>(0);
    let before = events().await;
    client.batch_execute(&format!("alter table {table} rename to {table}_away")).await.unwrap();
    for (method, path, body) in asked {
        let (status, answer) = edge.send_as(&edge.admin, method, &format!("/api/v1{path}"), body.clone()).await;
        assert_eq!((status, &answer["code"]), (500, &json!("internal")), "{method} {path} without {table}: {answer}");
        assert!(!answer.to_string().contains(table), "{answer}");
    }
    client.batch_execute(&format!("alter table {table}_away rename to {table}")).await.unwrap();
    assert_eq!(events().await, before, "without {table}");
    // With it, each does what it should.
    for (method, path, body) in asked {
        let (status, answer) = edge.send_as(&edge.admin, method, &format!("/api/v1{path}"), body.clone()).await;
        assert_eq!(status / 100, 2, "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn mn_2_a_parent_that_could_not_be_looked_up_is_not_one_that_is_not_there() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let another =
        edge.create("/api/v1/robots", json!({"robot_type_id": seed.robot_type, "factory_id": seed.factory, "device_id": "free"})).await;
    let free = edge.create("/api/v1/scenes", json!({"factory_id": seed.factory, "name": "free"})).await;
    let wuhan = edge.create("/api/v1/factories", json!({"name": "Wuhan"})).await["id"].clone();
    let of_factory = [
        ("POST", "/organizations".to_owned(), json!({"factory_id": seed.factory, "name": "O"})),
        ("POST", "/robots".to_owned(), json!({"robot_type_id": seed.robot_type, "factory_id": seed.factory, "device_id": "other"})),
        ("PUT", format!("/scenes/{}", number(&free["id"])), json!({"factory_id": wuhan, "name": "freer"})),
        ("PUT", format!("/robots/{}", number(&another["id"])), json!({"factory_id": wuhan, "status": "maintenance"})),
    ];
    fails_while_away(&edge, "factories", &of_factory).await;
    let person =
        |id: &str, name: &str| json!({"organization_id": seed.organization, "name": "P", id: name, "password": "a password of theirs"});
    let of_organization = [
        ("POST", "/data_collectors".to_owned(), person("operator_id", "p")),
        ("POST", "/inspectors".to_owned(), person("inspector_id", "q")),
    ];
    fails_while_away(&edge, "organizations", &of_organization).await;
}

#[tokio::test]
async fn mn_3_an_entry_whose_name_could_not_be_looked_up_is_not_taken_for_the_only_one() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    fails_while_away(&edge, "skills", &[("POST", "/skills".into(), json!({"slug": "one"}))]).await;
    fails_while_away(&edge, "sops", &[("POST", "/sops".into(), json!({"slug": "one"}))]).await;
    let inspector = json!({"organization_id": seed.organization, "name": "I", "inspector_id": "i", "password": "a password of theirs"});
    fails_while_away(&edge, "inspectors", &[("POST", "/inspectors".into(), inspector)]).await;
    let renamed = ("PUT", format!("/subscenes/{}", number(&seed.subscene)), json!({"name": "basin"}));
    fails_while_away(&edge, "subscenes", &[renamed]).await;
}

#[tokio::test]
async fn mn_13_of_many_who_bind_the_same_one_is_bound_and_the_others_are_told_so() {
    const MANY: usize = 8;
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let (mut robots, mut collectors) = (vec![], vec![]);
    for n in 0..MANY {
        let robot = json!({"robot_type_id": seed.robot_type, "factory_id": seed.factory, "device_id": format!("robot-{n}")});
        robots.push(edge.create("/api/v1/robots", robot).await["id"].clone());
        let person =
            json!({"organization_id": seed.organization, "name": "P", "operator_id": format!("p{n}"), "password": "a password of theirs"});
        collectors.push(edge.create("/api/v1/data_collectors", person).await["id"].clone());
    }
    let told = |answers: Vec<(u16, Value)>, refusal: &str, well: u16| {
        assert_eq!(answers.iter().filter(|(status, _)| *status == well).count(), 1, "{answers:?}");
        let refused = |(status, answer): &&(u16, Value)| *status == 409 && answer["error"] == refusal && answer["message"].is_string();
        assert_eq!(answers.iter().filter(refused).count(), MANY - 1, "{answers:?}");
    };
    let bind = |robot: &Value, collector: &Value| edge.post("/api/v1/stations", json!({"robot_id": robot, "data_collector_id": collector}));
    told(join_all(collectors.iter().map(|collector| bind(&robots[0], collector))).await, "ROBOT_ALREADY_ASSIGNED", 201);
    // Who is bound by now is bound to that robot; of the others one gets them all.
    let free: Vec<&Value> = robots[1..].iter().collect();
    let (_, listed) = edge.get("/api/v1/stations?limit=100").await;
    let bound: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|station| &station["data_collector_id"]).collect();
    let idle: Vec<&Value> = collectors.iter().filter(|collector| !bound.contains(collector)).collect();
    let answers = join_all(free.iter().map(|robot| bind(robot, idle[0]))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, answer)| *status == 201 || answer["error"] == "DATA_COLLECTOR_ALREADY_ASSIGNED"), "{answers:?}");
    // Rebinding is decided the same way.
    let station = format!("/api/v1/stations/{}", number(&seed.station));
    let rebound =
        join_all(idle[1..].iter().map(|collector| edge.send_as(&edge.admin, "PUT", &station, json!({"data_collector_id": collector}))));
    let answers = rebound.await;
    assert!(answers.iter().all(|(status, _)| [200, 404, 409].contains(status)), "{answers:?}");
    assert!(answers.iter().any(|(status, _)| *status == 200), "{answers:?}");
    let (_, listed) = edge.get("/api/v1/stations?limit=100").await;
    let current = |key: &str| {
        let mut ids: Vec<&str> = listed["items"].as_array().unwrap().iter().filter_map(|station| station[key].as_str()).collect();
        ids.sort_unstable();
        ids.windows(2).all(|two| two[0] != two[1])
    };
    assert!(current("robot_id") && current("data_collector_id"), "{listed}");
}

#[tokio::test]
async fn mn_24_a_list_of_people_counts_whom_it_shows() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let organization = edge.create("/api/v1/organizations", json!({"factory_id": seed.factory, "name": "Leaving"})).await["id"].clone();
    let person = json!({"organization_id": organization, "name": "P", "operator_id": "p", "password": "a password of theirs"});
    let person = number(&edge.create("/api/v1/data_collectors", person).await["id"]);
    let delete = async |path: String| edge.send_as(&edge.admin, "DELETE", &path, Value::Null).await.0;
    let organization = format!("/api/v1/organizations/{}", number(&organization));
    assert_eq!(delete(organization.clone()).await, 400, "whom it has, keeps it");
    let counts = async || {
        let (_, listed) = edge.get("/api/v1/data_collectors").await;
        (listed["total"].as_u64().unwrap(), listed["items"].as_array().unwrap().len() as u64)
    };
    assert_eq!(counts().await, (2, 2));
    assert_eq!(delete(format!("/api/v1/data_collectors/{person}")).await, 204);
    assert_eq!(delete(organization).await, 204);
    assert_eq!(counts().await, (1, 1));
}
