//! A small factory to try things with: everything an order needs, created through the front door.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Client, id_of};

/// What was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Factory {
    pub factory_id: i64,
    pub organization_id: i64,
    pub scene_id: i64,
    pub subscene_id: i64,
    pub sop_id: i64,
    pub stations: Vec<Workplace>,
}

/// One robot with its collector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workplace {
    pub station_id: i64,
    pub robot_id: i64,
    pub device_id: String,
    pub operator_id: String,
    pub password: String,
}

/// The device id the server itself would give to the `n`th robot of a type.
pub fn device_id(factory_id: i64, robot_type_id: i64, n: usize) -> String {
    format!("AB-F{factory_id:04}-T{robot_type_id:04}-{n:06}")
}

/// Creates a factory with `stations` workstations. `name` makes its names unique.
pub async fn seed(client: &Client, name: &str, stations: usize) -> anyhow::Result<Factory> {
    let create = |path: &'static str, body: Value| async move { id_of(&client.create(path, &body).await?["id"]) };
    let factory_id = create("/factories", json!({ "name": format!("Factory {name}"), "timezone": "UTC" })).await?;
    let factory = factory_id.to_string();
    let organization_id = create("/organizations", json!({ "factory_id": factory, "name": format!("Organization {name}") })).await?;
    let organization = organization_id.to_string();
    let scene =
        json!({ "factory_id": factory, "name": format!("Warehouse {name}"), "initial_scene_layout_template": "two shelves, one table" });
    let scene_id = create("/scenes", scene).await?;
    let subscene_id = create("/subscenes", json!({ "scene_id": scene_id.to_string(), "name": "Aisle A" })).await?;
    let slug: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let pick = create("/skills", json!({ "slug": format!("pick-{slug}") })).await?;
    let place = create("/skills", json!({ "slug": format!("place-{slug}") })).await?;
    let sequence = [pick.to_string(), place.to_string()];
    let sop_id = create("/sops", json!({ "slug": format!("pick-and-place-{slug}"), "skill_sequence": sequence })).await?;
    let robot_type = json!({
        "name": "SynGloves", "model": format!("SynGloves {name}"), "manufacturer": "Archebase",
        "ros_topics": ["/chatter", "/camera0/rgb", "/udp/gps", "/udp/can"],
    });
    let robot_type_id = create("/robot_types", robot_type).await?;
    let mut workplaces = Vec::with_capacity(stations);
    for n in 1..=stations {
        let device_id = device_id(factory_id, robot_type_id, n);
        let robot = json!({ "robot_type_id": robot_type_id.to_string(), "factory_id": factory, "device_id": device_id });
        let robot_id = create("/robots", robot).await?;
        let (operator_id, password) = (format!("{slug}-op-{n}"), format!("{slug}-password-{n}"));
        let collector =
            json!({ "organization_id": organization, "name": format!("Collector {n}"), "operator_id": operator_id, "password": password });
        let collector_id = create("/data_collectors", collector).await?;
        let station = json!({ "robot_id": robot_id.to_string(), "data_collector_id": collector_id.to_string() });
        let station_id = create("/stations", station).await?;
        workplaces.push(Workplace { station_id, robot_id, device_id, operator_id, password });
    }
    Ok(Factory { factory_id, organization_id, scene_id, subscene_id, sop_id, stations: workplaces })
}

/// A task as it was dispatched.
#[derive(Clone, Debug)]
pub struct DispatchedTask {
    pub id: i64,
    pub public_id: String,
}

/// Places an order.
pub async fn place_order(client: &Client, factory: &Factory, name: &str, target_count: usize) -> anyhow::Result<i64> {
    let order = json!({
        "organization_id": factory.organization_id.to_string(), "scene_id": factory.scene_id.to_string(),
        "name": name, "target_count": target_count, "priority": "normal",
    });
    id_of(&client.create("/orders", &order).await?["id"])
}

/// Dispatches a batch of the order to a workstation.
pub async fn dispatch(
    client: &Client,
    factory: &Factory,
    order_id: i64,
    station: &Workplace,
    quantity: usize,
) -> anyhow::Result<Vec<DispatchedTask>> {
    let batch = json!({
        "order_id": order_id, "workstation_id": station.station_id,
        "task_groups": [{ "sop_id": factory.sop_id, "subscene_id": factory.subscene_id, "quantity": quantity }],
    });
    let created = client.create("/batches", &batch).await?;
    let tasks = created["tasks"].as_array().cloned().unwrap_or_default();
    tasks
        .iter()
        .map(|task| {
            let public_id = task["task_id"].as_str().unwrap_or_default().to_owned();
            Ok(DispatchedTask { id: id_of(&task["id"])?, public_id })
        })
        .collect()
}
