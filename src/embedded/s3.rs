//! An S3 endpoint inside this process, over a folder.
//!
//! It speaks enough S3 for robots, browsers and ourselves: put, head, ranges,
//! multipart, metadata, signed links. Three things are ours to add, and are: keys
//! that would leave their bucket's folder are refused in front of it; nothing it
//! writes is synced, so `blobs` syncs what an ack depends on; what an interrupted
//! upload left behind is removed at the next start by the file layer.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::dto::{DeleteObjectsInput, ListObjectsInput, ListObjectsV2Input};
use s3s::path::S3Path;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Request, S3Result, s3_error};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::blobs::ObjectKey;
use crate::config::Secret;
use crate::listener;

/// How long open requests may take to end when we stop: a part of a multipart upload
/// has room; the robot repeats a cut one.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: Secret,
}

impl Credentials {
    /// Given ones, or a remembered pair that is generated at the first start.
    pub fn remembered(data: &super::DataDir) -> io::Result<Self> {
        Ok(Self { access_key: "keystone".to_owned(), secret_key: data.secret("s3")? })
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
    #[error("the object storage cannot be opened: {0}")]
    Storage(String),
}

/// The running endpoint. Dropping it cuts open connections; [`EmbeddedS3::stop`] lets
/// them end.
#[derive(Debug)]
pub struct EmbeddedS3 {
    address: SocketAddr,
    root: PathBuf,
    credentials: Credentials,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl EmbeddedS3 {
    /// Serves the folder `root` on `address`; port 0 takes a free one. `bucket` is
    /// created if it is missing.
    pub async fn start(root: &Path, address: SocketAddr, credentials: Credentials, bucket: &str) -> Result<Self, S3Error> {
        let failed = |source| S3Error::Root { path: root.to_path_buf(), source };
        std::fs::create_dir_all(root.join(bucket)).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let files = s3s_fs::FileSystem::new(&root).map_err(|error| S3Error::Storage(format!("{error:?}")))?;

        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(credentials.access_key.clone(), credentials.secret_key.expose().to_owned()));
        builder.set_access(InsideTheBucket);
        let service = builder.build();

        let listener = TcpListener::bind(address).await.map_err(|source| S3Error::Bind { address, source })?;
        let address = listener.local_addr().map_err(|source| S3Error::Bind { address, source })?;
        let stop = CancellationToken::new();
        let server = tokio::spawn(listener::serve(listener, stop.clone(), HEADER_TIMEOUT, move |_| service.clone()));
        Ok(Self { address, root, credentials, stop, server: Some(server) })
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

    pub fn credentials(&self) -> &Credentials {
        &self.credentials
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
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// Refuses what is not signed, and every key that would name a file outside its
/// bucket's folder, or another file than its own.
struct InsideTheBucket;

#[async_trait::async_trait]
impl S3Access for InsideTheBucket {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        if let S3Path::Object { key, .. } = cx.s3_path() {
            allow(key)?;
        }
        if let Some(source) = cx.headers().get("x-amz-copy-source") {
            let source = source.to_str().map_err(|_| s3_error!(InvalidArgument, "The copy source is not text"))?;
            allow(&copied_key(source)?)?;
        }
        Ok(())
    }

    async fn delete_objects(&self, request: &mut S3Request<DeleteObjectsInput>) -> S3Result<()> {
        for object in &request.input.delete.objects {
            allow(&object.key)?;
        }
        Ok(())
    }

    async fn list_objects(&self, request: &mut S3Request<ListObjectsInput>) -> S3Result<()> {
        allow_prefix(request.input.prefix.as_deref())
    }

    async fn list_objects_v2(&self, request: &mut S3Request<ListObjectsV2Input>) -> S3Result<()> {
        allow_prefix(request.input.prefix.as_deref())
    }
}

fn allow(key: &str) -> S3Result<()> {
    // A key that ends in a slash is a folder; only its name is of interest.
    match ObjectKey::new(key.strip_suffix('/').unwrap_or(key)) {
        Ok(_) => Ok(()),
        Err(error) => Err(s3_error!(InvalidArgument, "{error}")),
    }
}

fn allow_prefix(prefix: Option<&str>) -> S3Result<()> {
    match prefix {
        None | Some("") => Ok(()),
        Some(prefix) => allow(prefix),
    }
}

/// The key in `bucket/key?versionId=…`, percent-decoded.
fn copied_key(source: &str) -> S3Result<String> {
    let invalid = || s3_error!(InvalidArgument, "The copy source is not valid");
    let path = source.split_once('?').map_or(source, |(path, _)| path);
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let pair = [rest.next().ok_or_else(invalid)?, rest.next().ok_or_else(invalid)?];
        bytes.extend(hex::decode(pair).map_err(|_| invalid())?);
    }
    let path = String::from_utf8(bytes).map_err(|_| invalid())?;
    let (_, key) = path.split_once('/').ok_or_else(invalid)?;
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_source_is_decoded_before_it_is_judged() {
        assert_eq!(copied_key("/b/a%20b/c?versionId=1").unwrap(), "a b/c");
        assert!(allow(&copied_key("b/%2e%2e/other").unwrap()).is_err());
        assert!(copied_key("b/%2").is_err());
        assert!(copied_key("b").is_err());
    }

    #[test]
    fn a_folder_marker_and_a_prefix_may_end_in_a_slash() {
        assert!(allow("a/").is_ok());
        assert!(allow_prefix(Some("a/b/")).is_ok());
        assert!(allow_prefix(Some("../")).is_err());
        assert!(allow("a//").is_err());
    }
}
