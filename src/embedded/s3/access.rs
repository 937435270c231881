//! Who may ask for what, before a body is read.

use s3s::access::{S3Access, S3AccessContext};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

use super::layout::allow_key;

/// Refuses what is not signed, and every key that would name a file outside its
/// bucket's folder, or another file than its own.
pub struct InsideTheBucket;

#[async_trait::async_trait]
impl S3Access for InsideTheBucket {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        match cx.s3_path() {
            S3Path::Object { key, .. } => allow_key(key),
            S3Path::Root | S3Path::Bucket { .. } => Ok(()),
        }
    }
}
