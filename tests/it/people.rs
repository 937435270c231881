//! Who people are stands beside the log, and can be taken away without touching it.

use keystone_edge::commands::devices::{OpenLink, RequestDeviceCommand, SettleDeviceCommand};
use keystone_edge::domain::device::{CommandOutcome, LinkKind, RecorderAction};
use keystone_edge::domain::{DeviceId, PublicTaskId};
use keystone_edge::eventstore::log;
use keystone_edge::pg::get;
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::projections::rows::tables;
use serde_json::{Value, json};

use crate::factory::{asked, place_all};
use crate::harness::edge::TestEdge;

const NAME: &str = "Ada Quill";
const OPERATOR: &str = "op-quill-77";
const EMAIL: &str = "ada.quill@example.org";

/// Registers a collector who is known by three texts, with a robot at a station: both numbers.
async fn registered(edge: &TestEdge) -> (Value, Value) {
    let seed = edge.seed().await;
    let person = json!({
        "organization_id": seed.organization, "name": NAME, "operator_id": OPERATOR, "email": EMAIL, "password": "long enough 8",
    });
    let collector = edge.create("/api/v1/data_collectors", person).await;
    assert_eq!([&collector["name"], &collector["operator_id"], &collector["email"]], [NAME, OPERATOR, EMAIL].map(Value::from).each_ref());
    let robot = json!({ "robot_type_id": seed.robot_type.to_string(), "factory_id": seed.factory, "device_id": "AB-F0001-T0001-000099" });
    let robot = edge.create("/api/v1/robots", robot).await["id"].clone();
    let pair = json!({ "robot_id": robot, "data_collector_id": collector["id"] });
    let station = edge.create("/api/v1/stations", pair).await;
    assert_eq!([&station["collector_name"], &station["collector_operator_id"]], [NAME, OPERATOR].map(Value::from).each_ref());
    (collector["id"].clone(), station["id"].clone())
}

/// Tables with a row that says one of these texts.
async fn tables_that_know(edge: &TestEdge, texts: &[&str]) -> Vec<String> {
    let client = get(&edge.database.pool).await.unwrap();
    let all = "select table_name::text from information_schema.tables where table_schema = 'public' order by 1";
    let pattern = texts.join("|").replace('.', "\\.");
    let mut found = vec![];
    for row in client.query(all, &[]).await.unwrap() {
        let table: String = row.get(0);
        let sql = format!("select exists (select from {table} t where t::text ~ $1)");
        if client.query_one(&sql, &[&pattern]).await.unwrap().get(0) {
            found.push(table);
        }
    }
    found
}

#[tokio::test]
async fn no_event_tells_who_a_person_is() {
    let edge = TestEdge::start().await;
    registered(&edge).await;
    let known = ["data_collectors", "people", "stations"];
    assert_eq!(tables_that_know(&edge, &[NAME, OPERATOR, EMAIL]).await, known);
    // Who works at a robot is told to its recorder.
    let device = DeviceId::parse("AB-F0001-T0001-000099").unwrap();
    edge.execute(OpenLink { device: device.clone(), kind: LinkKind::Recorder, remote: "a".into(), process: None }).await;
    let config = json!({ "task_config": { "task_id": "t", "data_collector_id": OPERATOR, "operator_name": NAME } });
    let ask = asked(&device, RecorderAction::Config, PublicTaskId::parse("t").ok());
    let command_id = edge.execute(RequestDeviceCommand { config: Some(config), ..ask }).await;
    assert_eq!(tables_that_know(&edge, &[NAME, OPERATOR, EMAIL]).await, ["command_params", "data_collectors", "people", "stations"]);
    let outcome = CommandOutcome::Refused { message: None, data: None };
    edge.execute(SettleDeviceCommand { device, command_id, outcome }).await;
    assert_eq!(tables_that_know(&edge, &[NAME, OPERATOR, EMAIL]).await, known);
    place_all(&edge.database.connector).await;
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_person_is_forgotten_by_deleting_and_the_log_stays_as_it_is() {
    let edge = TestEdge::start().await;
    let (collector, _) = registered(&edge).await;
    place_all(&edge.database.connector).await;
    let before = log::verify(&edge.database.pool).await.unwrap();
    let client = get(&edge.database.pool).await.unwrap();
    client.execute("delete from people where subject_id = $1", &[&collector.as_str().unwrap().parse::<i64>().unwrap()]).await.unwrap();

    // A rebuild knows no more of the person than a tombstone; what differs is what erasing has to write.
    let found = rebuild(&edge.database.pool).await.unwrap().differences;
    let rebuilt: Vec<_> = found.iter().filter(|(_, side, _)| side == "rebuilt").map(|(table, _, row)| (table.as_str(), row)).collect();
    assert_eq!(rebuilt.iter().map(|(table, _)| *table).collect::<Vec<_>>(), ["data_collectors", "stations"]);
    for (table, row) in rebuilt {
        let said = row.to_string();
        assert!(said.contains("forgotten") && ![NAME, OPERATOR, EMAIL].iter().any(|text| said.contains(text)), "{table}: {said}");
    }
    assert_eq!(log::verify(&edge.database.pool).await.unwrap(), before);
}

#[tokio::test]
async fn whom_an_old_event_names_is_known_without_a_row_beside_it() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let client = get(&edge.database.pool).await.unwrap();
    // As the version before registered somebody while this one was running already.
    let organization: i64 = seed.organization.as_str().unwrap().parse().unwrap();
    let payload = json!({ "created": {
        "organization_id": organization, "name": NAME, "operator_id": OPERATOR, "email": EMAIL, "certification": null, "status": "active",
        "metadata": {},
    } });
    let sql = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
               values ('data_collector', '900', 1, 'data_collector_created', '1.0', $1, '{}')";
    client.execute(sql, &[&payload]).await.unwrap();
    let table = tables().into_iter().find(|table| table.name == "data_collectors").unwrap();
    let row = json!([{
        "id": 900, "version": 1, "created_at": "2026-11-20T19:53:07Z", "updated_at": "2026-11-20T19:53:07Z", "organization_id": organization,
        "name": NAME, "operator_id": OPERATOR, "email": EMAIL, "status": "active", "metadata": {},
    }]);
    client.execute(table.upsert, &[&row]).await.unwrap();
    place_all(&edge.database.connector).await;
    let found = rebuild(&edge.database.pool).await.unwrap().differences;
    let told: Vec<_> = found.iter().map(|(table, _, row)| (table.as_str(), &row["name"], &row["email"])).collect();
    // Only its time differs, which this test made up.
    assert_eq!(told, [("data_collectors", &json!(NAME), &json!(EMAIL)); 2]);
}
