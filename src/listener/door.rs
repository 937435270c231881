//! Which connections of a port are taken, and how it is told how many were not.
//!
//! Connections that are not taken are many at once, or none. The first is told when it comes, and then one line in a
//! while says how many there were since, also when no other comes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::warn;

use super::admission::{Admission, Full, Limits, Place};
use super::proxies::Proxies;

/// What is told to a connection that is not taken. It may not even have been read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";

/// Between two lines of the log.
const PAUSE: Duration = Duration::from_secs(10);

/// How many connections there is room for on a port.
#[derive(Clone, Debug, Default)]
pub struct Room {
    pub limits: Limits,
    /// They may open any number, within the limit for all.
    pub proxies: Proxies,
}

pub struct Door {
    admission: Admission,
    proxies: Proxies,
    untold: Option<Untold>,
    told: Option<Instant>,
}

/// Turned away since the last line.
struct Untold {
    connections: u64,
    /// Of the last of them.
    source: IpAddr,
    why: Full,
}

impl Door {
    pub fn new(Room { limits, proxies }: Room) -> Self {
        Self { admission: Admission::new(limits), proxies, untold: None, told: None }
    }

    pub fn admit(&mut self, peer: SocketAddr, stream: &TcpStream) -> Option<Place> {
        let why = match self.admission.admit(peer.ip(), self.proxies.trusts(peer.ip())) {
            Ok(place) => return Some(place),
            Err(full) => full,
        };
        metrics::counter!(crate::telemetry::CONNECTIONS_REFUSED, "cause" => why.as_str()).increment(1);
        // What does not fit into the socket's own buffer is not said.
        let _said_or_not = stream.try_write(FULL);
        let connections = self.untold.as_ref().map_or(0, |untold| untold.connections) + 1;
        self.untold = Some(Untold { connections, source: peer.ip(), why });
        None
    }

    /// Waits until something is to be told.
    pub async fn something_to_tell(&self) {
        match (&self.untold, self.told) {
            (None, _) => std::future::pending().await,
            (Some(_), None) => {}
            (Some(_), Some(told)) => tokio::time::sleep_until(told + PAUSE).await,
        }
    }

    /// Writes the line of the log, if there is anything to say.
    pub fn tell(&mut self) {
        let Some(Untold { connections, source, why }) = self.untold.take() else { return };
        let why = if why == Full::All { "in all" } else { "from one address" };
        warn!(%source, connections, "Turned away {connections} connections: there are too many {why}");
        self.told = Some(Instant::now());
    }
}
