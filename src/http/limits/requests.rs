//! How often a login, or an address without one, may ask for something.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};

use super::names::LimitName;
use super::rate::{Rate, in_a_minute, in_a_second};
use crate::http::auth::Identity;
use crate::http::policy::Limit;
use crate::http::problem::{Code, Problem};
use crate::listener::one_caller;

/// A page that is opened asks for dozens of things, and after an outage all pages of a site are opened at once: so many seconds' worth may come
/// at once.
const AT_ONCE_S: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// How often, as the settings say.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    per_second_per_login: NonZeroU32,
    per_second_per_address: NonZeroU32,
    exports_per_minute_per_login: NonZeroU32,
}

impl RequestLimits {
    /// Requests a second of one login, and without one from one address; exports a minute of one login.
    pub fn new(per_second_per_login: u32, per_second_per_address: u32, exports_per_minute_per_login: u32) -> Self {
        // No setting is 0.
        let some = |most: u32| NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
        Self {
            per_second_per_login: some(per_second_per_login),
            per_second_per_address: some(per_second_per_address),
            exports_per_minute_per_login: some(exports_per_minute_per_login),
        }
    }
}

pub struct Limits<C: Clock = DefaultClock> {
    logins: Rate<String, C>,
    addresses: Rate<Option<IpAddr>, C>,
    exports: Rate<String, C>,
}

impl Limits {
    pub fn new(settings: RequestLimits) -> Self {
        Self::by_clock(settings, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn by_clock(settings: RequestLimits, clock: &C) -> Self {
        Self {
            logins: Rate::by_clock(in_a_second(settings.per_second_per_login, AT_ONCE_S), clock.clone()),
            addresses: Rate::by_clock(in_a_second(settings.per_second_per_address, AT_ONCE_S), clock.clone()),
            exports: Rate::by_clock(in_a_minute(settings.exports_per_minute_per_login), clock.clone()),
        }
    }

    /// Counts a request. Of who is logged in the login counts, wherever they are; of others the address.
    pub fn request(&self, limit: Limit, who: &Identity, address: Option<IpAddr>) -> Result<(), Problem> {
        let name = match (limit, who) {
            (Limit::None, _) => return Ok(()),
            (Limit::Requests | Limit::Exports, Identity::Anonymous) => return self.stranger(address),
            (Limit::Requests | Limit::Exports, who) => who.name(),
        };
        self.logins.count(&name).map_err(|wait_s| refused(LimitName::RequestsPerLogin, wait_s))?;
        match limit {
            Limit::Exports => self.exports.count(&name).map_err(|wait_s| refused(LimitName::ExportsPerLogin, wait_s)),
            Limit::None | Limit::Requests => Ok(()),
        }
    }

    /// Counts a request of a caller that nobody knows.
    pub fn stranger(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        self.addresses.count(&address.map(one_caller)).map_err(|wait_s| refused(LimitName::RequestsPerAddress, wait_s))
    }
}

fn refused(limit: LimitName, wait_s: u64) -> Problem {
    let text = match limit {
        LimitName::ExportsPerLogin => "too many exports by this login; wait and try again",
        LimitName::RequestsPerAddress => "too many requests without a login from this address; wait and try again",
        _ => "too many requests by this login; wait and try again",
    };
    Problem::new(Code::TooManyRequests, text).with("limit", limit.as_str()).retry_after(wait_s)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::config::Config;
    use crate::domain::CollectorId;

    fn limits(clock: &FakeRelativeClock) -> Limits<FakeRelativeClock> {
        let set = Config::defaults().limits;
        let settings =
            RequestLimits::new(set.requests_per_second_per_login, set.requests_per_second_per_address, set.exports_per_minute_per_login);
        Limits::by_clock(settings, clock)
    }

    fn collector(n: i64) -> Identity {
        Identity::Collector { id: CollectorId(n), operator_id: format!("op-{n}") }
    }

    fn at(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// What a page asks for while it is open, in requests a minute: the state of devices and dashboards come over streams, and beside them a
    /// page reads its lists anew every 5 seconds, six at a time, and follows one episode every 2 seconds.
    const PAGE_A_MINUTE: u64 = 12 * 6 + 30;
    /// When it is opened, or the server is there again.
    const PAGE_AT_ONCE: usize = 40;
    /// What a data collector's page asks for in a minute: its task and its robot every second, and a command now and then.
    const WORKSTATION_A_MINUTE: u64 = 2 * 60 + 6;

    #[test]
    fn a_shift_of_200_robots_and_20_open_pages_is_never_refused() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        let everybody_here = at("10.0.0.1");
        let mut asked = 0_u64;
        let mut ask = |who: &Identity| {
            limits.request(Limit::Requests, who, everybody_here).unwrap_or_else(|problem| panic!("{}: {}", who.name(), problem.detail()));
            asked += 1;
        };
        let collectors: Vec<Identity> = (1..=200).map(collector).collect();
        // Everything is opened in the same moment: 20 pages with one login, behind one router. Robots register, and fetch their files.
        for _ in 0..20 * PAGE_AT_ONCE {
            ask(&Identity::Admin);
        }
        for collector in &collectors {
            ask(&Identity::Anonymous);
            (0..PAGE_AT_ONCE).for_each(|_| ask(collector));
        }
        for _ in 0..2 * 200 {
            ask(&Identity::Anonymous);
        }
        // Ten minutes, a tenth of a second at a time; what is due is asked for at once.
        let due = |a_minute: u64, tick: u64| (tick + 1) * a_minute / 600 - tick * a_minute / 600;
        for tick in 0..6_000 {
            clock.advance(Duration::from_millis(100));
            (0..due(20 * PAGE_A_MINUTE, tick)).for_each(|_| ask(&Identity::Admin));
            for collector in &collectors {
                (0..due(WORKSTATION_A_MINUTE, tick)).for_each(|_| ask(collector));
            }
        }
        assert!(asked > 250_000, "{asked}");
    }

    #[test]
    fn fifty_requests_a_second_of_one_login_are_never_too_many() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        for _ in 0..3_600 {
            (0..50).for_each(|_| limits.request(Limit::Requests, &Identity::Admin, None).unwrap());
            clock.advance(Duration::from_secs(1));
        }
    }

    #[test]
    fn a_login_that_asks_too_often_stops_no_other_and_no_stranger() {
        let limits = limits(&FakeRelativeClock::default());
        let here = at("10.0.0.1");
        let problem = (0..1_000_000).find_map(|_| limits.request(Limit::Requests, &collector(1), here).err()).expect("a limit");
        assert_eq!((problem.status().as_u16(), problem.code()), (429, "too_many_requests"));
        assert_eq!(problem.extra("limit"), Some(&"requests_per_login".into()));
        assert!(limits.request(Limit::Requests, &collector(1), at("10.0.0.2")).is_err(), "wherever they are");
        assert!(limits.request(Limit::None, &collector(1), here).is_ok());
        assert!(limits.request(Limit::Requests, &collector(2), here).is_ok());
        assert!(limits.request(Limit::Requests, &Identity::Anonymous, here).is_ok());
    }

    #[test]
    fn strangers_count_by_address_and_a_machine_with_many_of_them_is_one() {
        let limits = limits(&FakeRelativeClock::default());
        let stranger = |from: String| limits.request(Limit::Requests, &Identity::Anonymous, at(&from));
        let problem = (0..1_000_000).find_map(|n| stranger(format!("2001:db8::{:x}", n % 65_536)).err()).expect("a limit");
        assert_eq!(problem.extra("limit"), Some(&"requests_per_address".into()));
        assert!(stranger("2001:db8:0:1::1".into()).is_ok());
        assert!(limits.request(Limit::Requests, &Identity::Admin, at("2001:db8::1")).is_ok(), "a login behind the same router");
    }

    #[test]
    fn exports_are_fewer_than_requests() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        let most = Config::defaults().limits.exports_per_minute_per_login;
        for _ in 0..most {
            assert!(limits.request(Limit::Exports, &Identity::Admin, None).is_ok());
        }
        let problem = limits.request(Limit::Exports, &Identity::Admin, None).unwrap_err();
        assert_eq!(problem.extra("limit"), Some(&"exports_per_login".into()));
        assert!(limits.request(Limit::Requests, &Identity::Admin, None).is_ok());
        clock.advance(Duration::from_secs(60));
        assert!(limits.request(Limit::Exports, &Identity::Admin, None).is_ok());
    }
}
