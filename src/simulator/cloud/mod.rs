//! A cloud to try cloud sync with: an S3 endpoint, a receiver of finished episodes, and what goes wrong between a factory
//! and them.
//!
//! [`Cloud`] runs inside this process, for tests and for `keystone simulate-cloud`. What goes wrong ([`CloudFaults`]) can be
//! changed while it runs; what it received, refused and did on purpose is in its [`CloudReport`].
//!
//! From a connection inwards: `door` accepts, `line` limits how fast bytes pass, `passage` decides what befalls a request,
//! and `s3` and `receiver` answer it. `switch` holds the faults as they are now, `ledger` what is counted. Another service
//! is one more `passage::Service`, with a door of its own.

mod content;
mod control;
mod door;
mod faults;
mod ledger;
mod line;
mod options;
mod passage;
mod rate;
mod receiver;
mod report;
mod run;
mod s3;
mod shelf;
mod switch;

pub use faults::{CloudFaults, LostAnswers, Operation, Outage, OutageKind};
pub use options::CloudOptions;
pub use report::{CloudReport, EpisodeReport, ObjectReport, UnfinishedReport};
pub use run::{Addresses, Cloud};
