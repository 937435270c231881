//! A running cloud.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use chrono::Utc;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::content::{Contents, sha256_of};
use super::control::{self, Controlled};
use super::dialect::Dialect;
use super::door;
use super::gateway::{Auth, Calls, Destination, Devices, Gateway, write_config};
use super::ledger::Ledger;
use super::options::CloudOptions;
use super::passage::{Passage, Service};
use super::receiver::Receiver;
use super::report::{CloudReport, ObjectReport, UnfinishedReport};
use super::shelf::{Everything, Shelf};
use super::sts::{Reach, Sts, StsCredentials};
use super::switch::Switch;
use super::{CloudFaults, oss, receiver, s3};
use crate::gateway_api::auth::auth_service_server::AuthServiceServer;
use crate::gateway_api::data_gateway::data_gateway_service_server::DataGatewayServiceServer;

/// Where a cloud is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses {
    pub s3: SocketAddr,
    pub receiver: SocketAddr,
    pub auth: SocketAddr,
    pub gateway: SocketAddr,
    pub oss: SocketAddr,
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

    /// Where tokens are given, by gRPC.
    pub fn auth_endpoint(&self) -> String {
        format!("http://{}", self.auth)
    }

    pub fn gateway_endpoint(&self) -> String {
        format!("http://{}", self.gateway)
    }

    pub fn oss_endpoint(&self) -> String {
        format!("http://{}", self.oss)
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
    oss_shelf: Arc<Shelf>,
    oss_bucket: String,
    sts: Arc<Sts>,
    devices: Arc<Devices>,
    gateway: Arc<Gateway>,
}

impl Cloud {
    pub async fn start(options: CloudOptions) -> anyhow::Result<Self> {
        ensure!(options.control.ip().is_loopback(), "--control takes an address of this machine only, as 127.0.0.1:9109");
        for bucket in options.buckets.iter().chain([&options.oss_bucket]) {
            ensure!(
                s3s::path::check_bucket_name(bucket),
                "`{bucket}` is no name of a bucket: 3 to 63 small letters, digits, dots and dashes"
            );
        }
        ensure!(!options.buckets.contains(&options.oss_bucket), "the buckets of S3 and OSS need different names");
        let contents =
            Arc::new(if options.discard { Contents::discarded(!options.unchecked) } else { Contents::in_folder(&options.data_dir)? });
        let s3_door = bound(options.s3, "--s3").await?;
        let receiver = bound(options.receiver, "--receiver").await?;
        let auth = bound(options.auth, "--auth").await?;
        let gateway = bound(options.gateway, "--gateway").await?;
        let oss_door = bound(options.oss, "--oss").await?;
        let control = bound(options.control, "--control").await?;
        let addresses = Addresses {
            s3: s3_door.local_addr()?,
            receiver: receiver.local_addr()?,
            auth: auth.local_addr()?,
            gateway: gateway.local_addr()?,
            oss: oss_door.local_addr()?,
            control: control.local_addr()?,
        };
        if let Some(path) = &options.write_config {
            write_config(path, &addresses.auth_endpoint(), &addresses.gateway_endpoint(), &options.devices)?;
        }

        let ledger = Arc::new(Ledger::default());
        let switch = Arc::new(Switch::new(options.faults, options.seed, ledger.clone()));
        let shelf = Arc::new(Shelf::new(&options.buckets, Dialect::S3));
        let oss_shelf = Arc::new(Shelf::new(std::slice::from_ref(&options.oss_bucket), Dialect::Oss));
        let (sts, devices) = (Arc::new(Sts::default()), Arc::new(Devices::new(options.devices)));
        let knows = Arc::new(Gateway {
            devices: devices.clone(),
            shelf: oss_shelf.clone(),
            sts: sts.clone(),
            switch: switch.clone(),
            destination: Destination {
                bucket: options.oss_bucket.clone(),
                endpoint: addresses.oss_endpoint(),
                key_prefix: options.key_prefix,
                part_size: options.part_size,
            },
            uploads: Mutex::default(),
        });
        let world = Arc::new(World {
            switch: switch.clone(),
            ledger: ledger.clone(),
            shelf: shelf.clone(),
            oss_shelf: oss_shelf.clone(),
            oss_bucket: options.oss_bucket,
            sts: sts.clone(),
            devices: devices.clone(),
            gateway: knows.clone(),
        });
        let key = (&*options.access_key, &*options.secret_key);
        let endpoint = s3::Endpoint::new(shelf, contents.clone(), key, switch.clone(), ledger.clone());
        let key = (options.access_key, options.secret_key);
        let oss_endpoint = oss::Endpoint::new((oss_shelf, contents), key, sts, switch.clone(), ledger.clone());
        let gives_tokens = AuthServiceServer::new(Auth { devices, switch: switch.clone() });
        let told = Receiver { token: options.receiver_token, ledger: ledger.clone() };

        let stop = CancellationToken::new();
        let mut doors = JoinSet::new();
        let mut open = |listener, service: Box<dyn Service>| {
            let passage = Passage { switch: switch.clone(), ledger: ledger.clone(), service };
            doors.spawn(door::keep(listener, Arc::new(passage), stop.clone()));
        };
        open(s3_door, Box::new(endpoint));
        open(receiver, Box::new(told));
        open(auth, Box::new(Calls { server: gives_tokens, ledger: ledger.clone() }));
        open(gateway, Box::new(Calls { server: DataGatewayServiceServer::from_arc(knows), ledger: ledger.clone() }));
        open(oss_door, Box::new(oss_endpoint));
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

    /// Tokens of the gateway and credentials for OSS that were given are good no longer, whatever they say of themselves.
    pub fn expire_credentials(&self) {
        self.world.expire_credentials();
    }

    /// Credentials for the whole bucket of OSS, as for a person: those of the gateway are good for one object.
    pub fn give_sts(&self) -> StsCredentials {
        self.world.give_sts()
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
        let Everything { mut objects, mut uploads } = self.shelf.everything();
        let in_oss = self.oss_shelf.everything();
        objects.extend(in_oss.objects);
        uploads.extend(in_oss.uploads);
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
        let (logical_uploads, repeated_episodes) = self.gateway.report(Utc::now())?;
        let books = self.ledger.copy();
        let mut report = CloudReport {
            logical_uploads,
            repeated_episodes,
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

    fn expire_credentials(&self) {
        self.devices.end_tokens();
        self.sts.expire_all(Utc::now());
    }

    fn give_sts(&self) -> StsCredentials {
        let ends = Utc::now() + self.switch.faults().lifetimes().sts;
        self.sts.give(Reach::Bucket(self.oss_bucket.clone()), ends)
    }
}
