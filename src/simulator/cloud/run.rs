//! A running cloud.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::content::{Contents, sha256_of};
use super::control::{self, Controlled};
use super::door;
use super::ledger::Ledger;
use super::options::CloudOptions;
use super::passage::{Passage, Service};
use super::receiver::Receiver;
use super::report::{CloudReport, ObjectReport, UnfinishedReport};
use super::s3::Endpoint;
use super::shelf::{Everything, Shelf};
use super::switch::Switch;
use super::{CloudFaults, receiver};

/// Where a cloud is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses {
    pub s3: SocketAddr,
    pub receiver: SocketAddr,
    pub control: SocketAddr,
}

impl Addresses {
    /// What an S3 client takes as its endpoint.
    pub fn s3_endpoint(&self) -> String {
        format!("http://{}", self.s3)
    }

    /// Where finished episodes are told.
    pub fn receiver_url(&self) -> String {
        format!("http://{}{}", self.receiver, receiver::PATH)
    }

    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }
}

/// Ends with its handle; [`Cloud::stop`] lets open requests end first.
pub struct Cloud {
    addresses: Addresses,
    world: Arc<World>,
    stop: CancellationToken,
    doors: JoinSet<io::Result<()>>,
    outages: JoinHandle<()>,
}

/// What all services of a cloud share.
struct World {
    switch: Arc<Switch>,
    ledger: Arc<Ledger>,
    shelf: Arc<Shelf>,
}

impl Cloud {
    pub async fn start(options: CloudOptions) -> anyhow::Result<Self> {
        ensure!(options.control.ip().is_loopback(), "--control takes an address of this machine only, as 127.0.0.1:9109");
        for bucket in &options.buckets {
            ensure!(
                s3s::path::check_bucket_name(bucket),
                "`{bucket}` is no name of a bucket: 3 to 63 small letters, digits, dots and dashes"
            );
        }
        let contents = if options.discard { Contents::discarded(!options.unchecked) } else { Contents::in_folder(&options.data_dir)? };
        let s3 = bound(options.s3, "--s3").await?;
        let receiver = bound(options.receiver, "--receiver").await?;
        let control = bound(options.control, "--control").await?;
        let addresses = Addresses { s3: s3.local_addr()?, receiver: receiver.local_addr()?, control: control.local_addr()? };

        let ledger = Arc::new(Ledger::default());
        let switch = Arc::new(Switch::new(options.faults, options.seed, ledger.clone()));
        let shelf = Arc::new(Shelf::new(&options.buckets));
        let world = Arc::new(World { switch: switch.clone(), ledger: ledger.clone(), shelf: shelf.clone() });
        let key = (&*options.access_key, &*options.secret_key);
        let endpoint = Endpoint::new(shelf, contents, key, switch.clone(), ledger.clone());
        let told = Receiver { token: options.receiver_token, ledger: ledger.clone() };

        let stop = CancellationToken::new();
        let mut doors = JoinSet::new();
        let mut open = |listener, service: Box<dyn Service>| {
            let passage = Passage { switch: switch.clone(), ledger: ledger.clone(), service };
            doors.spawn(door::keep(listener, Arc::new(passage), stop.clone()));
        };
        open(s3, Box::new(endpoint));
        open(receiver, Box::new(told));
        let (router, stopped) = (control::router(world.clone()), stop.clone());
        doors.spawn(async move { axum::serve(control, router).with_graceful_shutdown(stopped.cancelled_owned()).await });
        let outages = tokio::spawn(async move { switch.follow_outages().await });
        Ok(Self { addresses, world, stop, doors, outages })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub fn faults(&self) -> CloudFaults {
        self.world.faults()
    }

    /// From now on. A connection that is open keeps the latency that it began with.
    pub fn set_faults(&self, faults: CloudFaults) {
        self.world.set_faults(faults);
    }

    /// The key is good again, for as long as it was at the start.
    pub fn renew_key(&self) {
        self.world.renew_key();
    }

    /// Everything up to now. Objects that came in parts are read once, to be hashed.
    pub async fn report(&self) -> anyhow::Result<CloudReport> {
        self.world.report().await
    }

    /// Waits until a door cannot be kept open any longer, which is an error.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.doors.join_next().await {
            Some(Ok(Err(error))) => anyhow::Error::new(error).context("the simulated cloud cannot listen any longer"),
            Some(Err(error)) => anyhow::Error::new(error).context("the simulated cloud failed"),
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("the simulated cloud ended"),
        }
    }

    /// Lets open requests end, then closes, and tells what there was.
    pub async fn stop(mut self) -> anyhow::Result<CloudReport> {
        self.stop.cancel();
        while let Some(ended) = self.doors.join_next().await {
            ended.context("the simulated cloud failed")?.context("the simulated cloud could not listen")?;
        }
        self.world.report().await
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.outages.abort();
    }
}

async fn bound(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; {flag} takes another address"))
}

#[async_trait::async_trait]
impl Controlled for World {
    async fn report(&self) -> anyhow::Result<CloudReport> {
        let Everything { objects, uploads } = self.shelf.everything();
        for (place, object) in &objects {
            if object.sha256.get().is_some() {
                continue;
            }
            let pieces = object.pieces.clone();
            let hashed = tokio::task::spawn_blocking(move || sha256_of(&pieces)).await?;
            if let Some(sha256) = hashed.with_context(|| format!("cannot read {} back", place.1))? {
                // Another report may have been quicker, and found the same.
                object.sha256.get_or_init(|| hex::encode(sha256));
            }
        }
        let books = self.ledger.copy();
        let mut report = CloudReport {
            episodes: books.episodes.into_values().collect(),
            requests: books.requests,
            refusals: books.refusals,
            faults: books.faults,
            ..CloudReport::default()
        };
        let mut under_way = BTreeMap::new();
        for (upload_id, upload) in uploads {
            let bytes: u64 = upload.parts.values().map(|part| part.received.piece.bytes).sum();
            let most: &mut u64 = under_way.entry(upload.place.clone()).or_default();
            *most = bytes.max(*most);
            let (bucket, key) = upload.place;
            report.unfinished.push(UnfinishedReport { bucket, key, upload_id, parts: upload.parts.len(), bytes });
        }
        for (place, of) in books.keys {
            let object = objects.get(&place);
            let needed = of.largest_bytes.max(under_way.get(&place).copied().unwrap_or_default());
            let (bucket, key) = place;
            report.objects.push(ObjectReport {
                bucket,
                key,
                bytes: object.map(|object| object.bytes()),
                sha256: object.and_then(|object| object.sha256.get().cloned()),
                composite_sha256: object.and_then(|object| object.composite_sha256.clone()),
                parts: object.map_or(0, |object| object.pieces.len()),
                completed: of.completed,
                received_bytes: of.received_bytes,
                resent_bytes: of.received_bytes.saturating_sub(needed),
            });
        }
        Ok(report)
    }

    fn faults(&self) -> CloudFaults {
        (*self.switch.faults()).clone()
    }

    fn set_faults(&self, faults: CloudFaults) {
        self.switch.set(faults);
    }

    fn renew_key(&self) {
        self.switch.renew_key();
    }
}
