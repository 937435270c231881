//! The ports of this process. They are taken before anything is started, so that a start that cannot have them ends at once and
//! says only that; nobody is let in before the process can work.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, TcpSocket};

use crate::config::Config;

/// Who sets which.
const HTTP: &str = "KEYSTONE_BIND_ADDR";
const RECORDER: &str = "KEYSTONE_RECORDER_BIND";
const TRANSFER: &str = "KEYSTONE_TRANSFER_BIND";
const S3: &str = "KEYSTONE_EMBEDDED_S3_BIND";

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
        let s3 = config.s3.is_embedded().then_some((config.embedded.s3_bind, S3));
        let asked = [(config.http.bind, HTTP), (config.devices.recorder_bind, RECORDER), (config.devices.transfer_bind, TRANSFER)];
        apart(&asked.into_iter().chain(s3).collect::<Vec<_>>())?;
        Ok(Self {
            http: Port::take(config.http.bind, HTTP)?,
            recorder: Port::take(config.devices.recorder_bind, RECORDER)?,
            transfer: Port::take(config.devices.transfer_bind, TRANSFER)?,
            s3: s3.map(|(asked, setting)| Port::take(asked, setting)).transpose()?,
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

/// Two sockets may be bound to one port as long as neither listens, so that is not where it shows.
fn apart(asked: &[(SocketAddr, &'static str)]) -> anyhow::Result<()> {
    for (n, (address, setting)) in asked.iter().enumerate() {
        if let Some((other, another)) = asked[..n].iter().find(|(other, _)| overlap(*other, *address)) {
            bail!("{another} ({other}) and {setting} ({address}) name the same port; set one of them to another");
        }
    }
    Ok(())
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    // `[::]` takes what comes over IPv4, too.
    let covers = |all: SocketAddr, one: SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

fn busy(address: SocketAddr, setting: &str) -> String {
    format!("cannot listen on {address}; stop what listens there, or set {setting} to a free address of this machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_settings_with_one_port_are_both_named() {
        let told = |one: &str, other: &str| {
            let asked = [(one.parse().unwrap(), RECORDER), (other.parse().unwrap(), TRANSFER)];
            apart(&asked).map_err(|error| error.to_string()).err()
        };
        for (one, other) in [("127.0.0.1:8090", "127.0.0.1:8090"), ("0.0.0.0:8090", "127.0.0.1:8090"), ("10.0.0.7:8090", "[::]:8090")] {
            let told = told(one, other).unwrap_or_else(|| panic!("{one} and {other}"));
            assert!(told.contains(RECORDER) && told.contains(TRANSFER), "{told}");
        }
        for (one, other) in [
            ("127.0.0.1:8090", "127.0.0.2:8090"),
            ("0.0.0.0:8090", "0.0.0.0:8091"),
            ("0.0.0.0:8090", "[::1]:8090"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(told(one, other), None, "{one} and {other}");
        }
    }
}
