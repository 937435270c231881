//! Stretches of time that begin where clocks show a whole one.

use std::ops::Range;

use chrono::{Datelike as _, Months, NaiveTime};

use crate::domain::Timestamp;
use crate::domain::words::words;

words! {
    /// How long a bucket of a trend is.
    #[derive(Default)]
    Granularity {
        Hour = "hour",
        #[default]
        Day = "day",
        /// Begins on a Monday.
        Week = "week",
        Month = "month",
    }
}

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// From the Monday before to the first day of 1970, a Thursday.
const SINCE_MONDAY_US: i64 = 3 * DAY_US;

/// Stretches of one length, by clocks that are so many minutes ahead of UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    pub by: Granularity,
    pub minutes_ahead: i64,
}

impl Buckets {
    /// The one that an instant is in; all in microseconds since 1970.
    pub fn of(self, at_us: i64) -> Range<i64> {
        let ahead = self.minutes_ahead * 60_000_000;
        let local = self.of_local(at_us + ahead);
        local.start - ahead..local.end - ahead
    }

    fn of_local(self, local: i64) -> Range<i64> {
        let whole = |length: i64, since: i64| {
            let begins = (local - since).div_euclid(length) * length + since;
            begins..begins + length
        };
        match self.by {
            Granularity::Hour => whole(HOUR_US, 0),
            Granularity::Day => whole(DAY_US, 0),
            Granularity::Week => whole(7 * DAY_US, -SINCE_MONDAY_US),
            // Every time that is stored is in a month.
            Granularity::Month => month(local).unwrap_or_else(|| whole(DAY_US, 0)),
        }
    }
}

fn month(local: i64) -> Option<Range<i64>> {
    let first = Timestamp::from_timestamp_micros(local)?.date_naive().with_day(1)?;
    let us = |day: chrono::NaiveDate| day.and_time(NaiveTime::MIN).and_utc().timestamp_micros();
    Some(us(first)..us(first.checked_add_months(Months::new(1))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_where_clocks_show_a_whole_one() {
        use Granularity::{Day, Hour, Month, Week};
        let at = |text: &str| text.parse::<Timestamp>().unwrap().timestamp_micros();
        for (by, minutes_ahead, instant, begins, ends) in [
            (Hour, 0, "2026-11-28T07:59:59.999999Z", "2026-11-28T07:00:00Z", "2026-11-28T08:00:00Z"),
            (Hour, 345, "2026-11-28T07:14:59Z", "2026-11-28T06:15:00Z", "2026-11-28T07:15:00Z"),
            (Day, 480, "2026-11-28T15:59:59Z", "2026-11-27T16:00:00Z", "2026-11-28T16:00:00Z"),
            (Day, -30, "2026-11-28T00:10:00Z", "2026-11-27T00:30:00Z", "2026-11-28T00:30:00Z"),
            (Week, 0, "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Week, 480, "2026-11-29T16:00:00Z", "2026-11-29T16:00:00Z", "2026-12-06T16:00:00Z"),
            (Week, 0, "1969-12-28T12:00:00Z", "1969-12-22T00:00:00Z", "1969-12-29T00:00:00Z"),
            (Month, 0, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Month, 840, "2026-12-31T10:00:00Z", "2026-12-31T10:00:00Z", "2027-01-31T10:00:00Z"),
        ] {
            let found = Buckets { by, minutes_ahead }.of(at(instant));
            assert_eq!(found, at(begins)..at(ends), "{by:?} {minutes_ahead} {instant}");
        }
    }
}
