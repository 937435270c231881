//! A small factory to try things with: everything an order needs, created through the front door.

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::StoreConfig;
use super::client::{Client, id_of};

/// What a robot type's configuration files are rendered from. No secret stands in them: robots put in their own.
pub const TEMPLATES: [(&str, &str); 2] = [
    ("recorder.yaml", include_str!("../../config/templates/recorder.yaml")),
    ("transfer.yaml", include_str!("../../config/templates/transfer.yaml")),
];

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
    for (file, content) in TEMPLATES {
        let path = format!("/robot_types/{robot_type_id}/config_templates/{file}");
        let written = client.patiently(Method::PUT, &path, Some(&json!({ "content": content }))).await?;
        if !written.status.is_success() {
            bail!("PUT {path} was answered with {}: {}", written.status, written.body);
        }
    }
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

/// What a robot connects and uploads with.
#[derive(Clone, Debug)]
pub struct Equipment {
    pub token: String,
    /// Complete.
    pub recorder_url: String,
    /// Without the device id.
    pub transfer_url: String,
    pub store: StoreConfig,
}

impl Equipment {
    /// From the answer to a registration, or to a rotation. Without a key where the store is not the server's own.
    pub fn of(answer: &Value) -> anyhow::Result<Self> {
        let optional = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let needed = |pointer: &str| optional(pointer).with_context(|| format!("the answer has no {pointer}"));
        Ok(Self {
            token: needed("/ws_client_auth_token")?,
            recorder_url: needed("/endpoints/recorder_rpc_url")?,
            transfer_url: needed("/endpoints/transfer_ws_url")?,
            store: StoreConfig {
                endpoint: needed("/store_endpoint")?,
                bucket: needed("/store_bucket")?,
                region: needed("/store_region")?,
                access_key: optional("/store_access_key").unwrap_or_default(),
                secret_key: optional("/store_secret_key").unwrap_or_default(),
                part_bytes: StoreConfig::PART_BYTES,
            },
        })
    }

    /// Gives a robot a new token and a new key; those before end.
    pub async fn renewed(client: &Client, robot_id: i64) -> anyhow::Result<Self> {
        let path = format!("/robots/{robot_id}/ws-client-auth-token/rotate");
        let rotated = client.patiently(Method::POST, &path, None).await?;
        if !rotated.status.is_success() {
            bail!("POST {path} was answered with {}: {}", rotated.status, rotated.body);
        }
        Self::of(&rotated.body)
    }
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
