//! Who a request comes from, where a proxy stands in between.
//!
//! A proxy says it in a header, and so can everybody. So the headers are read only of peers that the settings name, and
//! from the right: what stands left of the first address that is none of ours was written by that caller.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use http::header::FORWARDED;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Proxies in a row; what stands further left is not looked at.
const HOPS_MAX: usize = 16;

/// Addresses of proxies, as the settings name them: `10.0.0.7, 192.168.4.0/24`.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<Network>);

#[derive(Clone, Copy, Debug)]
struct Network {
    address: u128,
    mask: u128,
}

/// As one number, IPv4 inside IPv6.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.map_or(Ok(whole), str::parse).map_err(|_| ())?;
        if bits > whole {
            return Err(());
        }
        let mask = u128::MAX.checked_shl(whole - bits).unwrap_or(0);
        Ok(Self { address: number(address) & mask, mask })
    }
}

impl FromStr for Proxies {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Proxies {
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| number(address) & network.mask == network.address)
    }

    /// Where a request comes from. Of a forwarded one the port is not known, and is 0.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.trusts(peer.ip()) {
            return peer;
        }
        let mut client = peer;
        for hop in hops(headers).into_iter().rev().take(HOPS_MAX) {
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

/// Nearest last. Where both headers are there, the more usual one counts.
fn hops(headers: &HeaderMap) -> Vec<&str> {
    let values = |name: &str| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if headers.contains_key(X_FORWARDED_FOR) {
        return values(X_FORWARDED_FOR).map(str::trim).collect();
    }
    values(FORWARDED.as_str())
        .map(|element| {
            let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("for")).map_or("", |(_, node)| node.trim_matches('"'))
        })
        .collect()
}

/// `10.0.0.1`, `10.0.0.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn address_of(node: &str) -> Option<IpAddr> {
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
            (one, "10.0.0.7", vec![("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
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
