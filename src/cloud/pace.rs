//! How many bytes are sent in a second: by all uploads of this process together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::Timelike as _;
use futures_util::stream::{self, Stream};
use tokio::time::Instant;

use crate::config::{Bandwidth, ByTime};

/// Bytes that are let go at once, as a share of a second's.
const PIECES_PER_SECOND: u64 = 50;
const PIECE_BYTES_MIN: u64 = 1024;
const PIECE_BYTES_MAX: u64 = 64 * 1024;

/// What was not sent for so long is made up for: a timer is late by a millisecond, and between two recordings nothing is on its way. In no second does this
/// add more than a twenty-fifth.
const MADE_UP_FOR: Duration = Duration::from_millis(40);

/// A limit that is shared. None: there is none.
#[derive(Clone, Default)]
pub struct Pace(Option<Arc<Limit>>);

struct Limit {
    bandwidth: Bandwidth,
    /// From when on the next piece may go.
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// The same limit at all times.
    pub fn of(bytes_per_s: Option<u64>) -> Self {
        Self::by(Bandwidth::new(bytes_per_s.unwrap_or(0), ByTime::default()))
    }

    pub fn by(bandwidth: Bandwidth) -> Self {
        Self(bandwidth.is_limited().then(|| Arc::new(Limit { bandwidth, free_at: Mutex::new(None) })))
    }

    pub fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// These bytes, piece by piece as they may go.
    pub fn pieces(&self, bytes: Bytes) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
        stream::unfold((self.clone(), bytes), |(pace, mut rest)| async move {
            if rest.is_empty() {
                return None;
            }
            let bytes_per_s = pace.0.as_ref().and_then(|limit| limit.bandwidth.at(minute_of_day()));
            let piece = bytes_per_s.map_or(PIECE_BYTES_MAX, |most| (most / PIECES_PER_SECOND).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX));
            let next = rest.split_to(rest.len().min(usize::try_from(piece).unwrap_or(usize::MAX)));
            if let (Some(limit), Some(bytes_per_s)) = (&pace.0, bytes_per_s) {
                tokio::time::sleep_until(limit.reserve(next.len() as u64, bytes_per_s, Instant::now())).await;
            }
            Some((Ok(next), (pace, rest)))
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a time of day is that of this machine")]
fn minute_of_day() -> u32 {
    chrono::Utc::now().num_seconds_from_midnight() / 60
}

impl Limit {
    /// When these bytes may go: behind all that was taken before. Of what was not used, only a little is saved up.
    fn reserve(&self, bytes: u64, bytes_per_s: u64, now: Instant) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.map_or(now, |at| at.max(now.checked_sub(MADE_UP_FOR).unwrap_or(now)));
        *free_at = Some(start + Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64));
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_by_several_together_keeps_the_limit() {
        let limit = Limit { bandwidth: Bandwidth::default(), free_at: Mutex::new(None) };
        let now = Instant::now();
        let starts: Vec<Duration> = (0..5).map(|_| limit.reserve(500, 1000, now) - now).collect();
        assert_eq!(starts, [0, 500, 1000, 1500, 2000].map(Duration::from_millis));
        let later = now + Duration::from_secs(60);
        assert_eq!(limit.reserve(500, 1000, later), later - MADE_UP_FOR);
    }

    #[tokio::test]
    async fn where_no_limit_holds_nothing_is_waited_for() {
        use futures_util::StreamExt as _;
        // None is all day long, and a byte in a second is the limit at no time.
        let pace = Pace::by(Bandwidth::new(1, "00:00-24:00=0".parse().unwrap()));
        assert!(pace.is_limited());
        let began = Instant::now();
        let sent: Vec<_> = pace.pieces(Bytes::from(vec![7; 1 << 20])).collect().await;
        assert!(sent.len() == 16 && began.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn pieces_are_all_of_it_and_take_their_time() {
        use futures_util::StreamExt as _;
        let pace = Pace::of(Some(1_000_000));
        let began = Instant::now();
        let bytes = Bytes::from((0..200_000_u32).map(|n| n as u8).collect::<Vec<_>>());
        let pieces: Vec<Bytes> = pace.pieces(bytes.clone()).map(Result::unwrap).collect().await;
        assert_eq!(pieces.concat(), bytes);
        // All but the last piece were waited for.
        assert!(began.elapsed() >= Duration::from_millis(180) && pieces.len() >= 10, "{:?} {}", began.elapsed(), pieces.len());
    }
}
