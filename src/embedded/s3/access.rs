//! Who may ask for what, before a body is read.

use s3s::access::{S3Access, S3AccessContext};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

use super::asking::Asking;
use super::layout::allow_key;
use super::ranges::Allowed;
use crate::embedded::keys::{Asked, Keys};

/// Refuses what is not signed, what the signer may not do, and every key that would name
/// a file outside its bucket's folder, or another file than its own.
pub struct InsideTheBucket {
    pub keys: Keys,
}

#[async_trait::async_trait]
impl S3Access for InsideTheBucket {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(signer) = cx.credentials() else {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        };
        let path = cx.s3_path();
        let asked = Asked { operation: cx.s3_op().name(), bucket: path.get_bucket_name(), key: path.get_object_key() };
        if let Some(asking) = Asking::now() {
            asking.is_for(asked.operation, asked.bucket, asked.key);
        }
        self.keys.check(&signer.access_key, asked).await?;
        if let S3Path::Object { key, .. } = path {
            allow_key(key)?;
        }
        if let Some(allowed) = cx.extensions_mut().get::<Allowed>() {
            allowed.set();
        }
        Ok(())
    }
}
