//! How many bytes may be sent in a second, by the time of day.

use std::str::FromStr;

/// Limits of a day, and the one that holds where none of them does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    usual: Option<u64>,
    by_time: ByTime,
}

/// `08:00-18:00=2000000, 22:00-05:00=0`: in UTC, bytes in a second, and 0 for no limit. Where two of them meet, the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByTime(Vec<Window>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    /// Minutes of the day; up to, and without, `to`. Over midnight where that is not later.
    from: u32,
    to: u32,
    limit: Option<u64>,
}

fn limit(bytes_per_s: u64) -> Option<u64> {
    (bytes_per_s > 0).then_some(bytes_per_s)
}

impl Bandwidth {
    pub fn new(usual: u64, by_time: ByTime) -> Self {
        Self { usual: limit(usual), by_time }
    }

    /// None: there is no limit at this minute of the day.
    pub fn at(&self, minute: u32) -> Option<u64> {
        self.by_time.0.iter().find(|window| window.holds(minute)).map_or(self.usual, |window| window.limit)
    }

    /// Whether there is one at any time.
    pub fn is_limited(&self) -> bool {
        self.usual.is_some() || self.by_time.0.iter().any(|window| window.limit.is_some())
    }
}

impl Window {
    fn holds(&self, minute: u32) -> bool {
        if self.from < self.to { (self.from..self.to).contains(&minute) } else { minute >= self.from || minute < self.to }
    }
}

/// Minutes of `23:59`; a day may end with `24:00`.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |text: &str| (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<u32>().ok())?;
    let at = number(hours)? * 60 + number(minutes).filter(|minutes| *minutes < 60)?;
    (at <= 24 * 60).then_some(at)
}

impl FromStr for Window {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parsed = || {
            let (times, bytes_per_s) = text.split_once('=')?;
            let (from, to) = times.split_once('-')?;
            let (from, to) = (minutes(from).filter(|from| *from < 24 * 60)?, minutes(to)?);
            (from != to).then_some(())?;
            Some(Self { from, to, limit: limit(bytes_per_s.trim().parse().ok()?) })
        };
        parsed().ok_or(())
    }
}

impl FromStr for ByTime {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let windows = text.split(',').map(str::trim).filter(|window| !window.is_empty());
        windows.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bandwidth: &Bandwidth, time: &str) -> Option<u64> {
        bandwidth.at(minutes(time).unwrap())
    }

    #[test]
    fn a_limit_holds_in_its_time_also_over_midnight() {
        let bandwidth = Bandwidth::new(5, "08:00-18:00=2, 22:00-05:30=0,17:00-20:00=3".parse().unwrap());
        for (time, expected) in [
            ("07:59", Some(5)),
            ("08:00", Some(2)),
            ("17:59", Some(2)),
            ("18:00", Some(3)),
            ("20:00", Some(5)),
            ("22:00", None),
            ("00:00", None),
            ("05:29", None),
            ("05:30", Some(5)),
        ] {
            assert_eq!(at(&bandwidth, time), expected, "{time}");
        }
        assert!(bandwidth.is_limited() && !Bandwidth::new(0, ByTime::default()).is_limited());
        assert!(Bandwidth::new(0, "00:00-24:00=7".parse().unwrap()).is_limited());
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "8:00-18:00=1",
            "08:00=1",
            "08:00-18:00",
            "08:60-09:00=1",
            "24:00-01:00=1",
            "08:00-08:00=1",
            "08:00-25:00=1",
            "08:00-18:00=-1",
            "x",
        ] {
            assert!(wrong.parse::<ByTime>().is_err(), "{wrong}");
        }
        assert_eq!("".parse(), Ok(ByTime::default()));
    }
}
