//! Messages that hold secrets, as logs and errors show them: without these.

use std::fmt;

use super::{auth, data_gateway};

impl fmt::Debug for auth::ExchangeCredentialRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeCredentialRequest").finish_non_exhaustive()
    }
}

impl fmt::Debug for auth::ExchangeCredentialResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expires_at_unix, token_type, key_id, .. } = self;
        f.debug_struct("ExchangeCredentialResponse")
            .field("expires_at_unix", expires_at_unix)
            .field("token_type", token_type)
            .field("key_id", key_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for data_gateway::UploadCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, endpoint, object_key, sts_expire_at_unix, part_size_bytes, .. } = self;
        f.debug_struct("UploadCredentials")
            .field("bucket", bucket)
            .field("endpoint", endpoint)
            .field("object_key", object_key)
            .field("sts_expire_at_unix", sts_expire_at_unix)
            .field("part_size_bytes", part_size_bytes)
            .finish_non_exhaustive()
    }
}
