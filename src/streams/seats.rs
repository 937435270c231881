//! How many streams there may be: in all, and of one user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::telemetry::STREAM_SUBSCRIBERS;

/// What a stream tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Devices,
    Log,
    BulkRun,
    Station,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Log => "log",
            Self::BulkRun => "bulk_run",
            Self::Station => "station",
        }
    }
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// This user has as many as one may have.
    User,
    Process,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_user: HashMap<String, usize>,
}

pub struct Seats {
    max: usize,
    per_user_max: usize,
    taken: Mutex<Taken>,
}

impl Seats {
    pub fn new(max: usize, per_user_max: usize) -> Arc<Self> {
        Arc::new(Self { max, per_user_max, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(self: &Arc<Self>, kind: Kind, user: &str) -> Result<Seat, Full> {
        let mut taken = self.taken();
        if taken.all >= self.max {
            return Err(Full::Process);
        }
        let of_user = taken.by_user.get(user).copied().unwrap_or_default();
        if of_user >= self.per_user_max {
            return Err(Full::User);
        }
        taken.by_user.insert(user.to_owned(), of_user + 1);
        taken.all += 1;
        drop(taken);
        metrics::gauge!(STREAM_SUBSCRIBERS, "kind" => kind.as_str()).increment(1);
        Ok(Seat { seats: self.clone(), kind, user: user.to_owned() })
    }
}

/// Free again when it is dropped, with the connection.
pub struct Seat {
    seats: Arc<Seats>,
    kind: Kind,
    user: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!(STREAM_SUBSCRIBERS, "kind" => self.kind.as_str()).decrement(1);
        let mut taken = self.seats.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(of_user) = taken.by_user.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                taken.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_seats_to_others_and_a_seat_that_is_left_is_free() {
        let seats = Seats::new(3, 2);
        let take = |user: &str| seats.take(Kind::Log, user);
        let (first, _second) = (take("admin").ok(), take("admin").ok());
        assert_eq!(take("admin").err(), Some(Full::User));
        let other = take("collector:1").ok();
        assert!(other.is_some());
        assert_eq!((take("collector:2").err(), take("admin").err()), (Some(Full::Process), Some(Full::Process)));
        drop(first);
        assert_eq!(seats.taken().all, 2);
        let again = take("admin").ok();
        assert!(again.is_some());
        drop((again, other, _second));
        assert!(seats.taken().all == 0 && seats.taken().by_user.is_empty());
    }
}
