//! Where the store is.

use std::sync::Arc;

use super::local::LocalObjects;
use crate::config::Secret;

/// Where the store is and how to get in.
#[derive(Clone, Debug)]
pub struct Access {
    pub endpoint: String,
    pub public_endpoint: Option<String>,
    pub access_key: String,
    pub secret_key: Secret,
    /// Our bucket in the embedded endpoint, if it is that.
    pub local: Option<Arc<dyn LocalObjects>>,
}
