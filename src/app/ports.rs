//! The ports of this process. They are taken before anything is started, so that a start that cannot have them ends at once and
//! says only that; nobody is let in before the process can work.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::Config;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

pub struct Ports {
    pub http: Port,
    pub recorder: Port,
    pub transfer: Port,
    /// Where the objects are embedded.
    pub s3: Option<Port>,
}

/// A port that is ours and does not listen yet.
pub struct Port {
    socket: TcpSocket,
    asked: SocketAddr,
    setting: &'static str,
    /// Port 0 takes a free one.
    pub address: SocketAddr,
}

impl Ports {
    pub fn take(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            http: Port::take(config.http.bind, "KEYSTONE_BIND_ADDR")?,
            recorder: Port::take(config.devices.recorder_bind, "KEYSTONE_RECORDER_BIND")?,
            transfer: Port::take(config.devices.transfer_bind, "KEYSTONE_TRANSFER_BIND")?,
            s3: config.s3.is_embedded().then(|| Port::take(config.embedded.s3_bind, "KEYSTONE_EMBEDDED_S3_BIND")).transpose()?,
        })
    }
}

impl Port {
    fn take(asked: SocketAddr, setting: &'static str) -> anyhow::Result<Self> {
        let taken = || {
            let socket = if asked.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // Connections of the process before may linger.
            socket.set_reuseaddr(true)?;
            socket.bind(asked)?;
            let address = socket.local_addr()?;
            std::io::Result::Ok((socket, address))
        };
        let (socket, address) = taken().with_context(|| busy(asked, setting))?;
        Ok(Self { socket, asked, setting, address })
    }

    pub fn listen(self) -> anyhow::Result<TcpListener> {
        self.socket.listen(BACKLOG).with_context(|| busy(self.asked, self.setting))
    }
}

fn busy(address: SocketAddr, setting: &str) -> String {
    format!("cannot listen on {address}; stop what listens there, or set {setting} to a free address of this machine")
}
