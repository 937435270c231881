//! Which addresses a request may go to: public ones, and what the settings allow besides.
//!
//! Names are resolved here, when a connection is made, and only what was looked at is connected to: a name that answers something
//! else a moment later reaches nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::listener::Networks;

/// Asks for the addresses of a name.
#[async_trait]
pub trait Names: Send + Sync + 'static {
    async fn addresses(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// As the system does.
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Why an address is not connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    #[error("it is at an address that is not public and that `webhooks.allow_private` does not name")]
    NotPublic,
    #[error("`http` goes only to networks that `webhooks.allow_private` names; use `https`")]
    NotEncrypted,
}

/// What may be connected to.
#[derive(Clone)]
pub struct Allowed {
    networks: Arc<Networks>,
    /// Public addresses, too: with encryption only.
    public: bool,
}

impl Allowed {
    pub fn encrypted(networks: Arc<Networks>) -> Self {
        Self { networks, public: true }
    }

    pub fn plain(networks: Arc<Networks>) -> Self {
        Self { networks, public: false }
    }

    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let address = address.to_canonical();
        match (self.networks.contain(address), is_public(address), self.public) {
            (true, ..) | (false, true, true) => Ok(()),
            (false, true, false) => Err(AddressRefused::NotEncrypted),
            (false, false, _) => Err(AddressRefused::NotPublic),
        }
    }
}

/// Resolves names, and leaves out what may not be connected to.
pub struct CheckedNames {
    pub names: Arc<dyn Names>,
    pub allowed: Allowed,
}

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, allowed) = (self.names.clone(), self.allowed.clone());
        Box::pin(async move {
            let (mut fine, mut refused) = (vec![], None);
            for address in names.addresses(name.as_str()).await? {
                match allowed.check(address) {
                    Ok(()) => fine.push(SocketAddr::new(address, 0)),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(error) if fine.is_empty() => Err(error.into()),
                _ => Ok(Box::new(fine.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether an address belongs to the whole internet. What is unknown does not.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        // This network, private, shared, loopback, link-local.
        (0 | 10 | 127, ..) | (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _) | (192, 168, _)
        // Protocols, documentation, the relay that was, benchmarks.
        | (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113)
        // Multicast, reserved, broadcast.
        | (224.., ..)
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Of what is given out (2000::/3) all but protocols with Teredo and ORCHID, documentation, and 6to4, which leads to an IPv4 address.
    (0x2000..=0x3fff).contains(&a) && !matches!((a, b), (0x2001, 0..=0x01ff) | (0x2001, 0x0db8) | (0x2002, _) | (0x3fff, 0..=0x0fff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_refused_in_whatever_clothes() {
        let allowed = Allowed::encrypted(Arc::default());
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2001:10::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert_eq!(allowed.check(inside.parse().unwrap()), Err(AddressRefused::NotPublic), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(allowed.check(outside.parse().unwrap()), Ok(()), "{outside}");
        }
    }

    #[test]
    fn networks_of_the_settings_are_allowed_and_only_there_plain_requests_go() {
        let networks: Arc<Networks> = Arc::new("10.20.0.0/16, ::1".parse().unwrap());
        for allowed in [Allowed::encrypted(networks.clone()), Allowed::plain(networks.clone())] {
            for fine in ["10.20.3.4", "::ffff:10.20.3.4", "::1"] {
                assert_eq!(allowed.check(fine.parse().unwrap()), Ok(()), "{fine}");
            }
            assert_eq!(allowed.check("10.21.0.1".parse().unwrap()), Err(AddressRefused::NotPublic));
        }
        assert_eq!(Allowed::plain(networks).check("1.1.1.1".parse().unwrap()), Err(AddressRefused::NotEncrypted));
    }
}
