//! An S3 endpoint inside this process, over a folder.
//!
//! `s3s` speaks the protocol (signatures, chunked bodies, XML); what a request does to the folder is ours
//! ([ADR 8](../../../docs/adr/0008-own-file-layer.md)). What that promises:
//!
//! - A write is answered when bytes and attributes are on disk, and is there as a whole or not at all: `record` says
//!   how the two change together.
//! - Objects are plain files under their key wherever a file can have it, and work wherever it cannot (`layout`).
//! - What is refused (a checksum, a condition, the `guard`) leaves what was there before.
//! - An upload in parts that nobody continues ends after a time (`multipart`).

mod access;
mod answers;
mod asking;
pub mod guard;
mod incoming;
mod layout;
mod listing;
mod locks;
mod multipart;
mod objects;
mod operations;
mod ranges;
mod record;
mod store;
mod waiting;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::service::service_fn;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use super::keys::Credentials;

use self::access::InsideTheBucket;
use self::asking::{Asking, Refusals, on_behalf_of};
use self::guard::{Guard, Unguarded};
use self::layout::{Layout, make_folders};
use self::multipart::Uploads;
use self::operations::Operations;
use self::ranges::Unread;
use self::store::{Local, Store};
use self::waiting::Signed;
use super::keys::Keys;
use crate::blobs::LocalObjects;
use crate::listener::{self, Intake, Room};

/// How long open requests may take to end when we stop: a part of a multipart upload
/// has room; the robot repeats a cut one.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the body of a request may take to arrive: 5 GB, the largest that S3 takes at once, at 1.5 MB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(3600);

/// The list of ten thousand parts with their checksums has room.
const XML_BYTES_MAX: usize = 4 << 20;

/// What an endpoint is started with.
pub struct Options {
    pub keys: Keys,
    /// Made if it is missing.
    pub bucket: String,
    /// An upload in parts ends when nobody continued it for so long.
    pub upload_expiry: Duration,
    pub guard: Arc<dyn Guard>,
    /// For connections.
    pub room: Room,
}

impl Options {
    pub fn new(keys: impl Into<Keys>, bucket: impl Into<String>, upload_expiry: Duration) -> Self {
        Self { keys: keys.into(), bucket: bucket.into(), upload_expiry, guard: Arc::new(Unguarded), room: Room::default() }
    }

    #[must_use]
    pub fn guarded_by(self, guard: Arc<dyn Guard>) -> Self {
        Self { guard, ..self }
    }

    #[must_use]
    pub fn with_room(self, room: Room) -> Self {
        Self { room, ..self }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    #[error("cannot listen on {address} for object storage; set KEYSTONE_EMBEDDED_S3_BIND to a free address")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot keep objects in {path}", path = path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The running endpoint. Dropping it cuts open connections; [`EmbeddedS3::stop`] lets
/// them end.
pub struct EmbeddedS3 {
    address: SocketAddr,
    root: PathBuf,
    keys: Keys,
    local: Arc<Local>,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
    sweeper: JoinHandle<()>,
}

impl EmbeddedS3 {
    /// Serves the folder `root` on `address`; port 0 takes a free one.
    pub async fn start(root: &Path, address: SocketAddr, options: Options) -> Result<Self, S3Error> {
        let listener = TcpListener::bind(address).await.map_err(|source| S3Error::Bind { address, source })?;
        Self::serve(root, listener, options)
    }

    /// The same on a port that was taken before.
    pub fn serve(root: &Path, listener: TcpListener, options: Options) -> Result<Self, S3Error> {
        let failed = |source| S3Error::Root { path: root.to_path_buf(), source };
        let address = listener.local_addr().map_err(failed)?;
        let Options { keys, bucket, upload_expiry, guard, room } = options;
        let layout = Layout::open(root).map_err(failed)?;
        make_folders(&layout.bucket(&bucket)).map_err(failed)?;
        let root = layout.root().to_owned();
        let local = Arc::new(Local { layout: layout.clone(), bucket });
        let store = Arc::new(Store::new(layout, guard));
        let uploads = Arc::new(Uploads::new(store.clone()));

        let mut config = S3Config::default();
        config.xml_max_body_size = XML_BYTES_MAX;
        config.post_object_max_file_size = 0;
        let config = Arc::new(StaticConfigProvider::new(Arc::new(config)));
        let mut builder = S3ServiceBuilder::new(Operations { store: store.clone(), uploads: uploads.clone() });
        builder.set_auth(keys.clone());
        builder.set_access(InsideTheBucket { keys: keys.clone() });
        builder.set_config(config.clone());
        let service = builder.build();
        // Asked only for what was allowed before.
        let mut builder = S3ServiceBuilder::new(Operations { store, uploads: uploads.clone() });
        builder.set_config(config);
        let allowed = builder.build();

        let stop = CancellationToken::new();
        let (known, refusals) = (keys.clone(), Arc::new(Refusals::default()));
        let service = move |remote| {
            let (service, allowed, keys, refusals) = (service.clone(), allowed.clone(), known.clone(), refusals.clone());
            service_fn(move |mut request: Request<Intake>| {
                let (service, allowed, keys, refusals) = (service.clone(), allowed.clone(), keys.clone(), refusals.clone());
                let (signed, unread) = (Signed::of(&request), Unread::of(&mut request));
                let asking = Asking::of(remote, &request, &signed);
                on_behalf_of(asking.clone(), async move {
                    let answer = service.call(request.map(s3s::Body::http_body_unsync)).await?;
                    let answer = match unread.and_then(|unread| unread.instead(answer.status())) {
                        Some(meant) => allowed.call(meant).await?,
                        None => signed.answer(answer, &keys),
                    };
                    asking.answered(&answer, &refusals);
                    Ok::<_, s3s::HttpError>(answer)
                })
            })
        };
        let server = tokio::spawn(listener::serve(listener, stop.clone(), room, HEADER_TIMEOUT, BODY_TIMEOUT, service));
        let sweeper = tokio::spawn(uploads.sweep_for_ever(upload_expiry));
        Ok(Self { address, root, keys, local, stop, server: Some(server), sweeper })
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients on this machine use as endpoint.
    pub fn endpoint(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}")
    }

    /// The folder that holds a folder per bucket.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// This server's own, with all rights; nobody else gets them.
    pub fn credentials(&self) -> &Credentials {
        self.keys.own()
    }

    /// The objects of our bucket, for readers in this process.
    pub fn local(&self) -> Arc<dyn LocalObjects> {
        self.local.clone()
    }

    /// Lets open requests end, then closes.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(server) = &mut self.server {
            // Those still open after that are cut with it.
            let _ended_or_not = tokio::time::timeout(STOP_TIMEOUT, server).await;
        }
    }
}

impl Drop for EmbeddedS3 {
    fn drop(&mut self) {
        self.sweeper.abort();
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}
