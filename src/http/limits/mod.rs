//! How often something may be asked: by one login, from one address, and less often where an answer is dear or a secret can be guessed.
//!
//! Each process counts for itself, in memory: with several of them behind a balancer a caller has as many times as much, and a process that is
//! started anew has forgotten. Sockets, callbacks and probes are not counted: a recorder never repeats a callback that was refused, and devices
//! have limits of their own.
//!
//! - [`names`]: every limit, by the name that refusals and measures give it.
//! - [`rate`]: so many in a second or a minute, of each caller; [`recent`]: of which callers that is remembered.
//! - [`throttle`]: attempts that are taken back where they succeed.
//! - [`requests`]: the limits of requests; [`layers`]: where they are asked.

mod layers;
mod names;
mod rate;
mod recent;
mod requests;
mod throttle;

pub use layers::{of_callers, of_strangers};
pub use rate::Rate;
pub use requests::{Limits, RequestLimits};
pub use throttle::Throttle;
