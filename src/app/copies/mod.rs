//! Copies of recordings that nobody asks about: looked at again, and removed by rule.

mod patrol;
mod retention;

pub use patrol::{Patrol, PatrolTerms, patrol};
pub use retention::{Retention, retain};
