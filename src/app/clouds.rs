//! The clouds of a site, as its settings name them, and the look for what was approved and never queued.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::cloud::gateway::{GatewayCloud, GatewaySettings};
use crate::cloud::s3::{S3Cloud, S3Settings};
use crate::cloud::{Cloud, Pace, Room};
use crate::commands::Context;
use crate::config::{Bandwidth, Config};
use crate::dispatcher::Backoff;
use crate::domain::sync::{CloudName, Limits};
use crate::subscribers::cloud_queue::CloudQueue;
use crate::subscribers::cloud_sync::{Clouds, RetryTerms, SyncTerms};

/// Those that recordings are pushed to; none where that is switched off.
pub fn clouds(config: &Config) -> anyhow::Result<Clouds> {
    let (sync, mut clouds) = (&config.sync, Clouds::new());
    if !sync.enabled {
        return Ok(clouds);
    }
    let pace = Pace::by(Bandwidth::new(sync.bytes_per_second_max(), sync.bytes_per_second_by_time()));
    let (s3, room) = (&sync.s3, Room::of(sync.memory_mib() << 20));
    if let (Some(bucket), Some(endpoint), Some(access_key), Some(secret_key)) = (&s3.bucket, &s3.endpoint, &s3.access_key, &s3.secret_key) {
        let settings = S3Settings {
            endpoint: endpoint.clone(),
            bucket: bucket.clone(),
            region: s3.region.clone(),
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            prefix: format!("edge-{}/", config.factory_id),
            request_timeout: sync.request_timeout,
            part_bytes: sync.part_mib() << 20,
            parts_at_once: sync.parts_at_once,
            sidecar_bytes_max: config.limits.sidecar_bytes_max,
            receiver: sync.receiver.url.clone().map(|url| (url, sync.receiver.token.clone())),
        };
        let cloud: Arc<dyn Cloud> = Arc::new(S3Cloud::new(settings, pace.clone(), room.clone())?);
        clouds.insert(CloudName::S3, cloud);
    }
    if let Some(platform) = sync.platform() {
        let settings = GatewaySettings {
            config: platform,
            call_timeout: sync.gateway.call_timeout,
            request_timeout: sync.request_timeout,
            parts_at_once: sync.parts_at_once,
            sidecar_bytes_max: config.limits.sidecar_bytes_max,
            restarts_max: sync.gateway.restarts_max(),
        };
        let cloud: Arc<dyn Cloud> = Arc::new(GatewayCloud::new(settings, pace, room)?);
        clouds.insert(CloudName::Gateway, cloud);
    }
    Ok(clouds)
}

pub fn terms(config: &Config) -> SyncTerms {
    let sync = &config.sync;
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    SyncTerms {
        retry: RetryTerms { backoff: Backoff::exponential(sync.retry_base, sync.retry_max), jitter: sync.retry_jitter() },
        limits: Limits { deadline_ms: sync.deadline().map(ms), attempts_max: sync.max_retries() },
    }
}

/// Between looks. Each episode is queued when it is approved; this finds those of before it was switched on, and those that a process of a version
/// before approved.
const SCAN_EVERY: Duration = Duration::from_secs(60);

/// Queues what is approved and was never queued, where that is wanted, until the end.
pub async fn scan(queue: CloudQueue, stop: CancellationToken) {
    loop {
        if let Err(error) = queue.approved_before(&Context::system(), &stop).await {
            warn!(error = format!("{error:#}"), "Cannot look for approved episodes; tries again: {error:#}");
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(SCAN_EVERY) => {} }
    }
}
