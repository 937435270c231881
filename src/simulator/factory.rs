//! A small factory to try things with: everything an order needs, created through the front door where it is missing.

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::client::{Client, id_of};
use super::{RobotConfig, StoreConfig};

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
    /// Where the collector was made just now, or an earlier start remembered it.
    pub password: Option<String>,
}

/// The device id the server itself would give to the `n`th robot of a type.
pub fn device_id(factory_id: i64, robot_type_id: i64, n: usize) -> String {
    format!("AB-F{factory_id:04}-T{robot_type_id:04}-{n:06}")
}

/// What is called so, as it is listed.
async fn listed(client: &Client, path: &str, filter: &str, is_it: impl Fn(&Value) -> bool) -> anyhow::Result<Option<Value>> {
    let listed = client.get(&format!("{path}?{filter}")).await?;
    Ok(listed["items"].as_array().and_then(|items| items.iter().find(|item| is_it(item))).cloned())
}

/// The id of what has the value that `body` has under `key`, created where it is missing.
async fn there(client: &Client, path: &str, filter: &str, key: &str, body: &Value) -> anyhow::Result<i64> {
    match listed(client, path, filter, |item| item[key] == body[key]).await? {
        Some(found) => id_of(&found["id"]),
        None => id_of(&client.create(path, body).await?["id"]),
    }
}

/// What the names of a factory's accounts and skills begin with. A letter that cannot stand there is none in it; what is left
/// may be the same of two names, so a number made of the whole name follows.
fn slug_of(name: &str) -> String {
    let slug: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    if name.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ' || c == '-') {
        return slug;
    }
    format!("{slug}-{}", hex::encode(&Sha256::digest(name)[..4]))
}

/// Creates what is missing of a factory with `stations` workstations. `name` makes its names unique; what has them
/// already is used.
pub async fn seed(client: &Client, name: &str, stations: usize) -> anyhow::Result<Factory> {
    let slug = slug_of(name);
    let body = json!({ "name": factory_name(name), "timezone": "UTC" });
    let factory_id = there(client, "/factories", &format!("keyword={}", factory_name(name)), "name", &body).await?;
    let factory = factory_id.to_string();
    let body = json!({ "factory_id": factory, "name": format!("Organization {name}") });
    let organization_id = there(client, "/organizations", &format!("factory_id={factory}"), "name", &body).await?;
    let body =
        json!({ "factory_id": factory, "name": format!("Warehouse {name}"), "initial_scene_layout_template": "two shelves, one table" });
    let scene_id = there(client, "/scenes", &format!("factory_id={factory}"), "name", &body).await?;
    let body = json!({ "scene_id": scene_id.to_string(), "name": "Aisle A" });
    let subscene_id = there(client, "/subscenes", &format!("scene_id={scene_id}"), "name", &body).await?;
    let mut skills = vec![];
    for skill in ["pick", "place"] {
        let body = json!({ "slug": format!("{skill}-{slug}") });
        skills.push(there(client, "/skills", &format!("slug={skill}-{slug}"), "slug", &body).await?.to_string());
    }
    let body = json!({ "slug": format!("pick-and-place-{slug}"), "skill_sequence": skills });
    let sop_id = there(client, "/sops", &format!("slug=pick-and-place-{slug}"), "slug", &body).await?;
    let robot_type_id = robot_type(client, name).await?;
    let mut workplaces = Vec::with_capacity(stations);
    for n in 1..=stations {
        workplaces.push(workplace(client, factory_id, organization_id, robot_type_id, &slug, n).await?);
    }
    Ok(Factory { factory_id, organization_id, scene_id, subscene_id, sop_id, stations: workplaces })
}

fn factory_name(name: &str) -> String {
    format!("Factory {name}")
}

/// The name that a factory was seeded with.
pub fn name_of(factory: &str) -> Option<&str> {
    factory.strip_prefix("Factory ")
}

async fn robot_type(client: &Client, name: &str) -> anyhow::Result<i64> {
    let model = format!("SynGloves {name}");
    let body = json!({
        "name": "SynGloves", "model": model, "manufacturer": "Archebase",
        "ros_topics": ["/chatter", "/camera0/rgb", "/udp/gps", "/udp/can"],
    });
    let id = there(client, "/robot_types", &format!("keyword={model}"), "model", &body).await?;
    for (file, content) in TEMPLATES {
        let path = format!("/robot_types/{id}/config_templates/{file}");
        if client.patiently(Method::GET, &path, None).await?.status.is_success() {
            continue;
        }
        let written = client.patiently(Method::PUT, &path, Some(&json!({ "content": content }))).await?;
        if !written.status.is_success() {
            bail!("PUT {path} was answered with {}: {}", written.status, written.body);
        }
    }
    Ok(id)
}

/// The `n`th workstation, its collector, and its robot. Of a collector who is there already the password is not known.
async fn workplace(
    client: &Client,
    factory_id: i64,
    organization_id: i64,
    robot_type_id: i64,
    slug: &str,
    n: usize,
) -> anyhow::Result<Workplace> {
    let operator_id = format!("{slug}-op-{n}");
    let mine = |item: &Value| item["collector_operator_id"] == operator_id.as_str() && item["is_current"] == true;
    if let Some(station) = listed(client, "/stations", &format!("collector_operator_id={operator_id}"), mine).await? {
        let device_id = station["robot_serial"].as_str().context("a station without a device id")?.to_owned();
        let (station_id, robot_id) = (id_of(&station["id"])?, id_of(&station["robot_id"])?);
        return Ok(Workplace { station_id, robot_id, device_id, operator_id, password: None });
    }
    let device_id = device_id(factory_id, robot_type_id, n);
    let robot = json!({ "robot_type_id": robot_type_id.to_string(), "factory_id": factory_id.to_string(), "device_id": device_id });
    let robot_id = there(client, "/robots", &format!("device_id={device_id}"), "device_id", &robot).await?;
    let password = hex::encode(rand::random::<[u8; 8]>());
    let collector = json!({
        "organization_id": organization_id.to_string(), "name": format!("Collector {n}"), "operator_id": operator_id, "password": password,
    });
    let is_it = |item: &Value| item["operator_id"] == operator_id.as_str();
    let found = listed(client, "/data_collectors", &format!("collector_operator_id={operator_id}"), is_it).await?;
    let (collector_id, password) = match found {
        Some(found) => (id_of(&found["id"])?, None),
        None => (id_of(&client.create("/data_collectors", &collector).await?["id"])?, Some(password)),
    };
    let station = json!({ "robot_id": robot_id.to_string(), "data_collector_id": collector_id.to_string() });
    let station_id = id_of(&client.create("/stations", &station).await?["id"])?;
    Ok(Workplace { station_id, robot_id, device_id, operator_id, password })
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

    /// The robot with all of it. Where the store is not the server's own, the robot's key stays the one it was given.
    pub fn on(self, robot: RobotConfig) -> RobotConfig {
        let (access_key, secret_key) = match self.store.access_key.is_empty() {
            true => (robot.store.access_key, robot.store.secret_key),
            false => (self.store.access_key, self.store.secret_key),
        };
        RobotConfig {
            recorder_url: self.recorder_url,
            transfer_url: self.transfer_url,
            recorder_token: Some(self.token),
            store: StoreConfig { access_key, secret_key, part_bytes: robot.store.part_bytes, ..self.store },
            ..robot
        }
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

#[cfg(test)]
mod tests {
    use super::slug_of;

    #[test]
    fn factories_with_names_in_any_script_have_accounts_of_their_own() {
        assert_eq!(slug_of("Demo 20261126-0753"), "demo-20261126-0753", "as ever");
        let (one, other) = (slug_of("工厂"), slug_of("車間"));
        assert_ne!(one, other);
        assert!(one.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && one.starts_with("--"), "{one}");
        assert_ne!(slug_of("Müller"), slug_of("Möller"));
    }
}
