//! Where devices find us: what a registration answers with.

use std::sync::Arc;

/// Where the sockets are, as devices are told.
#[derive(Clone, Debug)]
pub struct Endpoints {
    pub recorder: Endpoint,
    pub transfer: Endpoint,
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `ws://host:port`; where it is not set, the host that the device registered at, with the port.
    pub public_url: Option<String>,
    pub port: u16,
    pub token_required: bool,
}

impl Endpoint {
    pub fn base(&self, host: &str) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("ws://{host}:{}", self.port))
    }
}

/// Of a key's public half, its secret one.
pub type SecretOf = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Where robots upload to, as they are told.
#[derive(Clone)]
pub struct Store {
    /// Where it is not set, the host that the device registered at, with the port.
    pub public_url: Option<String>,
    pub port: u16,
    pub region: String,
    /// The secret half of a robot's key. None where the store is not ours: keys to it are made there.
    pub secret_of: Option<SecretOf>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { public_url, port, region, secret_of: _ } = self;
        f.debug_struct("Store").field("public_url", public_url).field("port", port).field("region", region).finish_non_exhaustive()
    }
}
