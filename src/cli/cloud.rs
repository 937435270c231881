//! `keystone simulate-cloud`: a cloud until it is stopped, and what it received.

use std::fmt::Write as _;

use serde_json::json;

use super::output::{say, say_json};
use crate::config::{LogFormat, Telemetry, variable};
use crate::lifecycle::Lifecycle;
use crate::simulator::cloud::{Cloud, CloudOptions, CloudReport};
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    cloud: CloudOptions,
    /// Print JSON: a line with addresses and keys at the start, and the report at the end
    #[arg(long)]
    json: bool,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let log = variable("KEYSTONE_LOG").filter(|log| !log.is_empty()).unwrap_or_else(|| "warn".to_owned());
    telemetry::init_logs(&Telemetry { log: Some(log), log_format: LogFormat::Text, otlp_endpoint: None })?;
    let Options { cloud: settings, json } = options;
    let lifecycle = Lifecycle::new();
    lifecycle.listen_for_signals()?;
    let mut cloud = Cloud::start(settings.clone()).await?;
    if json {
        say(&greeting_as_json(&cloud, &settings).to_string())?;
    } else {
        say(&greeting(&cloud, &settings)?)?;
    }
    tokio::select! {
        () = lifecycle.stop_requested() => {}
        error = cloud.failed() => return Err(error),
    }
    let report = cloud.stop().await?;
    if json { say_json(&report) } else { say(text(&report)?.trim_end()) }
}

fn greeting(cloud: &Cloud, settings: &CloudOptions) -> Result<String, std::fmt::Error> {
    let addresses = cloud.addresses();
    let mut out = String::new();
    writeln!(out, "A simulated cloud; what a server needs to send its episodes there:")?;
    writeln!(out, "  S3 endpoint    {}", addresses.s3_endpoint())?;
    writeln!(out, "  bucket         {}", settings.buckets.join(", "))?;
    writeln!(out, "  region         us-east-1, or any other")?;
    writeln!(out, "  access key     {}", settings.access_key)?;
    writeln!(out, "  secret key     {}", settings.secret_key)?;
    writeln!(out, "  receiver       {}", addresses.receiver_url())?;
    writeln!(out, "  bearer token   {}", settings.receiver_token.as_deref().unwrap_or("none is asked for"))?;
    writeln!(out, "or, by the data gateway:")?;
    writeln!(out, "  auth           {}", addresses.auth_endpoint())?;
    writeln!(out, "  gateway        {}", addresses.gateway_endpoint())?;
    writeln!(out, "  OSS            {}, bucket {}, the keys from above", addresses.oss_endpoint(), settings.oss_bucket)?;
    let devices: Vec<_> = settings.devices.iter().map(|device| &*device.id).collect();
    writeln!(out, "  devices        {}", devices.join(", "))?;
    match &settings.write_config {
        Some(path) => writeln!(out, "  configuration  {}, with the keys of these devices", path.display())?,
        None => writeln!(out, "  configuration  --write-config FILE writes it, with the keys of these devices")?,
    }
    writeln!(out, "Report and faults: {}/report, {}/faults", addresses.control_url(), addresses.control_url())?;
    match settings.discard {
        true if settings.unchecked => write!(out, "What comes is counted and discarded, and nothing of it is checked.")?,
        true => write!(out, "What comes is hashed, counted and discarded.")?,
        false => write!(out, "What comes is kept in {} until the end.", settings.data_dir.display())?,
    }
    Ok(out)
}

fn greeting_as_json(cloud: &Cloud, settings: &CloudOptions) -> serde_json::Value {
    let addresses = cloud.addresses();
    json!({
        "s3_endpoint": addresses.s3_endpoint(),
        "buckets": settings.buckets,
        "access_key": settings.access_key,
        "secret_key": settings.secret_key,
        "receiver": addresses.receiver_url(),
        "receiver_token": settings.receiver_token,
        "auth": addresses.auth_endpoint(),
        "gateway": addresses.gateway_endpoint(),
        "oss_endpoint": addresses.oss_endpoint(),
        "oss_bucket": settings.oss_bucket,
        "devices": settings.devices.iter().map(|device| &device.id).collect::<Vec<_>>(),
        "config": settings.write_config,
        "control": addresses.control_url(),
    })
}

fn text(report: &CloudReport) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for object in &report.objects {
        let place = format!("{}/{}", object.bucket, object.key);
        match object.bytes {
            Some(bytes) => {
                let hash = object.sha256.as_ref().or(object.composite_sha256.as_ref()).map_or("unknown", |hash| hash);
                writeln!(
                    out,
                    "{place}: {bytes} bytes, SHA-256 {hash}, completed {} times, {} bytes sent again",
                    object.completed, object.resent_bytes
                )?;
            }
            None => writeln!(out, "{place}: no object, {} bytes received, completed {} times", object.received_bytes, object.completed)?,
        }
    }
    for upload in &report.unfinished {
        writeln!(
            out,
            "{}/{}: unfinished, {} parts, {} bytes, upload {}",
            upload.bucket, upload.key, upload.parts, upload.bytes, upload.upload_id
        )?;
    }
    for episode in &report.episodes {
        writeln!(out, "episode {}: told {} times", episode.episode_id, episode.told)?;
    }
    for upload in &report.logical_uploads {
        writeln!(
            out,
            "upload {} of {} for episode {}: {}, completed {} times, {}/{}",
            upload.upload_id,
            upload.device_id,
            upload.episode_id.as_deref().unwrap_or("unknown"),
            upload.status,
            upload.completed,
            upload.bucket,
            upload.object_key
        )?;
        for (name, value) in &upload.tags {
            writeln!(out, "  {name} = {value}")?;
        }
    }
    for repeated in &report.repeated_episodes {
        writeln!(out, "episode {} has {} objects: {}", repeated.episode_id, repeated.object_keys.len(), repeated.object_keys.join(", "))?;
    }
    for (what, counts) in [("Requests", &report.requests), ("Refusals", &report.refusals), ("Faults", &report.faults)] {
        let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(out, "{what}: {}", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") })?;
    }
    Ok(out)
}
