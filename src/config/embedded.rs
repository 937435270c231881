//! `[embedded]`: what this program brings along, and where it keeps it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::forms::{bind_address, hours, set_or_none};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "set_or_none")]
    pub pg_bin: Option<PathBuf>,
    #[serde(deserialize_with = "bind_address")]
    pub s3_bind: SocketAddr,
    #[serde(rename = "s3_upload_expiry_h", deserialize_with = "hours")]
    pub s3_upload_expiry: Duration,
}
