//! How many connections are taken, from one address and in all.
//!
//! A connection costs a file descriptor and some memory before anything is known of who opened it. One that became a
//! WebSocket is not counted any more: a device has one of each kind, and there is a limit of those as well.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// On one port.
    pub connections: usize,
    pub per_address: usize,
}

impl Default for Limits {
    /// A factory of 200 robots behind one router has a few hundred.
    fn default() -> Self {
        Self { connections: 16_384, per_address: 2_048 }
    }
}

/// One caller's addresses: of IPv6, one machine has a whole network.
pub fn one_caller(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    All,
    Address,
}

impl Full {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Address => "address",
        }
    }
}

/// The connections of one port.
#[derive(Clone)]
pub struct Admission {
    limits: Limits,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Admission {
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// A place for a connection, until it is dropped. `shared`: many callers come from this address, which is that of a
    /// proxy; they are counted in all only.
    pub fn admit(&self, address: IpAddr, shared: bool) -> Result<Place, Full> {
        let address = one_caller(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.limits.connections {
            return Err(Full::All);
        }
        if !shared && open.by_address.get(&address).is_some_and(|count| *count >= self.limits.per_address) {
            return Err(Full::Address);
        }
        open.all += 1;
        *open.by_address.entry(address).or_default() += 1;
        Ok(Place { address, open: self.open.clone() })
    }
}

/// Held by a connection.
pub struct Place {
    address: IpAddr,
    open: Arc<Mutex<Open>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let admission = Admission::new(Limits { connections: 5, per_address: 2 });
        let from = |text: &str, shared| admission.admit(text.parse().unwrap(), shared);
        let first = from("10.0.0.1", false).ok();
        let second = from("::ffff:10.0.0.1", false).ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(from("10.0.0.1", false).err(), Some(Full::Address));
        let shared: Vec<_> = (0..3).filter_map(|_| from("10.0.0.2", true).ok()).collect();
        assert_eq!(shared.len(), 3);
        assert_eq!(from("10.0.0.3", false).err(), Some(Full::All));
        drop(first);
        assert!(from("10.0.0.1", false).is_ok());
        drop((second, shared));
        let open = admission.open.lock().unwrap();
        assert_eq!((open.all, open.by_address.len()), (0, 0), "nothing is kept of who is gone");
    }

    #[test]
    fn addresses_of_one_network_are_one_caller() {
        let one = |text: &str| one_caller(text.parse().unwrap()).to_string();
        assert_eq!(one("2001:db8::1"), one("2001:db8::ffff:2"));
        assert_ne!(one("2001:db8::1"), one("2001:db8:0:1::1"));
        assert_eq!(one("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
