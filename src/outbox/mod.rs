//! What has to be sent: rows committed with the events that ask for it.
//!
//! Rows are inserted by the event store in the statement that appends their event, claimed with `SKIP LOCKED` under a lease,
//! and settled by the worker that claimed them last: every statement of a settlement is fenced by the
//! row's epoch, which grows with each claim, and where what is under way is asked for again. Only the database's clock is used. A delivered
//! row leaves the table at once; one that is given up moves to `dead_letters` with the time
//! and error of every attempt, and comes back from there when it is replayed ([`letters`]).
//!
//! Left to others: delivering (`dispatcher`), and what an event means (`domain::routing`).

pub mod claim;
pub mod letters;
pub mod schedule;
pub mod settle;
pub mod standing;
pub mod subscribed;
pub mod wake;

pub use crate::domain::letter::DeadReason;
pub use claim::{Claim, Claimed, Share, StoredEvent, Wanted, claim, waiting_destinations};
pub use schedule::Backoff;
pub use settle::{Settlement, extend, settle};
pub use wake::Wakes;
