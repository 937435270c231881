//! A simulated cloud inside this process, for who tries the server: what is approved is pushed there by itself.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::config::{Config, Secret};
use crate::embedded::private_folder;
use crate::simulator::client::Client;
use crate::simulator::cloud::{Cloud, CloudDevice, CloudOptions};

/// How long what is approved may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A page of a list.
const PAGE: usize = 100;

/// The devices of its data platform.
fn devices(count: u16) -> Vec<CloudDevice> {
    let others = (2..=count).map(|n| format!("simulated-asset-{n:02}"));
    std::iter::once("simulated-asset".to_owned()).chain(others).map(|id| CloudDevice::named(&id)).collect()
}

/// Starts it, and has the settings name it; where they name a cloud already, that one stays. Its data platform has so many devices that
/// robots can be bound to; with none, nothing goes to its gateway.
pub async fn start(config: &mut Config, folder: &Path, device_count: u16) -> anyhow::Result<Option<Cloud>> {
    if config.sync.s3.bucket.is_some() || config.sync.gateway.config.is_some() {
        return Ok(None);
    }
    private_folder(folder)?;
    let mut options = CloudOptions::on_free_ports(folder.join("cloud"));
    if device_count > 0 {
        options.devices = devices(device_count);
        options.write_config = Some(folder.join("cloud-platform.json"));
        config.sync.gateway.config = options.write_config.clone();
    }
    let cloud = Cloud::start(options.clone()).await.context("the simulated cloud cannot start")?;
    let s3 = &mut config.sync.s3;
    s3.bucket = options.buckets.first().cloned();
    s3.endpoint = Some(cloud.addresses().s3_endpoint());
    s3.access_key = Some(options.access_key);
    s3.secret_key = Some(Secret::new(options.secret_key));
    config.sync.receiver.url = Some(format!("http://{}", cloud.addresses().receiver));
    config.sync.auto_scan = true;
    Ok(Some(cloud))
}

/// Binds each of these robots to a device of the platform that is free, but for those that are bound.
pub async fn bind(client: &Client, robots: impl IntoIterator<Item = i64>) -> anyhow::Result<()> {
    for robot in robots {
        if client.get(&format!("/robots/{robot}")).await?["asset_id"].is_string() {
            continue;
        }
        let free = client.get("/robots/cloud-asset-options").await?;
        let asset = free["items"][0]["device_id"].as_str().context("no device of the simulated cloud is free")?;
        let bound = client.call(Method::PUT, &format!("/robots/{robot}/cloud-asset"), Some(&json!({ "asset_id": asset }))).await?;
        ensure!(bound.status.is_success(), "the robot {robot} cannot be bound to {asset}: {}", bound.body);
    }
    Ok(())
}

/// What of all that is approved is not in the cloud once, byte for byte; waits for what is on its way.
pub async fn broken_promises(client: &Client, cloud: &Cloud) -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    let mut approved = approved(client).await?;
    while approved.iter().any(|episode| episode["cloud_synced"] != true) && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        approved = self::approved(client).await?;
    }
    let report = cloud.report().await?;
    let mut broken = vec![];
    for episode in &approved {
        let object = report.objects.iter().find(|object| episode["cloud_mcap_path"] == object.key);
        let is_there =
            object.is_some_and(|object| object.completed == 1 && episode["checksum"] == object.sha256.as_deref().unwrap_or_default());
        let told = client.get(&format!("/episodes/{}/certificate", episode["id"])).await?;
        let certificate = object.map(|object| object.key.replace(".mcap", ".certificate.json"));
        let is_certified = report.objects.iter().any(|object| Some(&object.key) == certificate.as_ref());
        if !is_certified || told["receipts"].as_array().is_none_or(Vec::is_empty) {
            broken.push(format!("the certificate of episode {} is not in the cloud, or has no receipt", episode["id"]));
        }
        if !is_there {
            broken.push(format!("episode {} is approved, and not in the cloud as it is here", episode["id"]));
        }
    }
    let words = if broken.is_empty() { "are" } else { "should be" };
    println!("\n{} approved episodes {words} in the cloud, byte for byte and with their certificates.", approved.len());
    Ok(broken)
}

async fn approved(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut episodes = vec![];
    for status in ["approved", "inspector_approved"] {
        let page = client.get(&format!("/episodes?qa_status={status}&limit={PAGE}")).await?;
        episodes.extend(page["items"].as_array().cloned().unwrap_or_default());
    }
    Ok(episodes)
}
