//! The two clocks of the device plane.

use std::time::Instant;

use crate::domain::Timestamp;

/// The clock that waiting follows.
pub fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The present moment: one clock for waiting, one for telling.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub at: Instant,
    pub wall: Timestamp,
}

impl Now {
    pub fn read() -> Self {
        Self { at: clock(), wall: crate::commands::clock::now() }
    }
}
