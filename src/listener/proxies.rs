//! Who a request comes from, where a proxy stands in between.
//!
//! A proxy says it in a header, and so can everybody. So the headers are read only of peers that the settings name, and
//! from the right: what stands left of the first address that is none of ours was written by that caller.
//!
//! There are two such headers, and a proxy that writes one of them passes the other on as the caller wrote it. Where both
//! are there and name different callers, neither is believed: the caller is the proxy then, and shares its limits.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use tracing::warn;

use super::networks::Networks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies in a row; what stands further left is not looked at.
const HOPS_MAX: usize = 16;

/// Addresses of proxies, as the settings name them: `10.0.0.7, 192.168.4.0/24`.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    networks: Networks,
    /// Whether it was said that headers contradict each other; once is enough.
    contradicted: Arc<AtomicBool>,
}

impl FromStr for Proxies {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(Self { networks: text.parse()?, ..Self::default() })
    }
}

impl Proxies {
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks.contain(address)
    }

    /// Where a request comes from. Of a forwarded one the port is not known, and is 0.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.trusts(peer.ip()) {
            return peer;
        }
        let x_forwarded_for = headers.contains_key(X_FORWARDED_FOR).then(|| self.named(peer, &listed(headers)));
        let forwarded = headers.contains_key(FORWARDED).then(|| self.named(peer, &nodes(headers)));
        match (x_forwarded_for, forwarded) {
            (None, None) => peer,
            (Some(client), None) | (None, Some(client)) => client,
            (Some(client), Some(same)) if client == same => client,
            (Some(_), Some(_)) => {
                if !self.contradicted.swap(true, Ordering::Relaxed) {
                    warn!(
                        proxy = %peer.ip(),
                        "The proxy {} passes on X-Forwarded-For and Forwarded that name different callers: neither is believed. \
                         It has to write one of them and remove the other",
                        peer.ip()
                    );
                }
                peer
            }
        }
    }

    /// The caller that a list of hops names, the nearest last.
    fn named(&self, peer: SocketAddr, hops: &[&str]) -> SocketAddr {
        let mut client = peer;
        for hop in hops.iter().rev().take(HOPS_MAX) {
            // What cannot be read was not written by a proxy of ours.
            let Some(address) = address_of(hop) else { break };
            client = SocketAddr::new(address.to_canonical(), 0);
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','))
}

/// Of `X-Forwarded-For`.
fn listed(headers: &HeaderMap) -> Vec<&str> {
    values(headers, X_FORWARDED_FOR).map(str::trim).collect()
}

/// Of `Forwarded`.
fn nodes(headers: &HeaderMap) -> Vec<&str> {
    values(headers, FORWARDED).map(node_of).collect()
}

fn node_of(element: &str) -> &str {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| name.eq_ignore_ascii_case("for")).map_or("", |(_, node)| node.trim_matches('"'))
}

/// Of `10.0.0.1`, `10.0.0.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
pub fn address_of(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    bare.parse().ok().or_else(|| node.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, headers: &[(&'static str, &str)]) -> String {
        let proxies: Proxies = trusted.parse().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        proxies.client(SocketAddr::new(peer.parse().unwrap(), 1), &map).ip().to_string()
    }

    #[test]
    fn a_forwarded_address_counts_where_the_peer_is_trusted() {
        let (one, net) = ("10.0.0.7", "10.0.0.0/8, fd00::/8");
        for (trusted, peer, headers, expected) in [
            ("", "10.0.0.7", vec![("x-forwarded-for", "1.2.3.4")], "10.0.0.7"),
            (one, "10.0.0.8", vec![("x-forwarded-for", "1.2.3.4")], "10.0.0.8"),
            (one, "10.0.0.7", vec![], "10.0.0.7"),
            (one, "10.0.0.7", vec![("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
            (one, "::ffff:10.0.0.7", vec![("x-forwarded-for", "1.2.3.4:99")], "1.2.3.4"),
            // What the caller wrote itself stands to the left.
            (one, "10.0.0.7", vec![("x-forwarded-for", "6.6.6.6, 1.2.3.4")], "1.2.3.4"),
            (one, "10.0.0.7", vec![("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
            (net, "10.0.0.7", vec![("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.9.9.9,fd00::1")], "1.2.3.4"),
            (net, "10.0.0.7", vec![("x-forwarded-for", "10.1.1.1, 10.2.2.2")], "10.1.1.1"),
            (one, "10.0.0.7", vec![("x-forwarded-for", "1.2.3.4, unknown")], "10.0.0.7"),
            (one, "10.0.0.7", vec![("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:99\";proto=http")], "2001:db8::1"),
            (one, "10.0.0.7", vec![("forwarded", "proto=http;For=1.2.3.4")], "1.2.3.4"),
            // Only one of them can be the proxy's; which, it does not say.
            (one, "10.0.0.7", vec![("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "1.2.3.4")], "10.0.0.7"),
            (one, "10.0.0.7", vec![("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "6.6.6.6")], "10.0.0.7"),
            (one, "10.0.0.7", vec![("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "")], "10.0.0.7"),
            (one, "10.0.0.7", vec![("forwarded", "for=9.9.9.9, for=\"1.2.3.4:5\""), ("x-forwarded-for", "6.6.6.6, 1.2.3.4")], "1.2.3.4"),
            (net, "10.0.0.7", vec![("forwarded", "for=1.2.3.4, for=10.9.9.9"), ("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ] {
            assert_eq!(client(trusted, peer, &headers), expected, "{trusted} {peer} {headers:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["x", "10.0.0.0/33", "10.0.0.0/", "/8", "fd00::/129", "10.0.0.1 10.0.0.2"] {
            assert!(bad.parse::<Proxies>().is_err(), "{bad}");
        }
        let all: Proxies = "0.0.0.0/0".parse().unwrap();
        assert!(all.trusts("1.2.3.4".parse().unwrap()) && !all.trusts("2001:db8::1".parse().unwrap()));
    }
}
