//! A cloud to try cloud sync with: an S3 endpoint and a receiver of finished episodes; a data gateway and an OSS endpoint; and
//! what goes wrong between a factory and them.
//!
//! [`Cloud`] runs inside this process, for tests and for `keystone simulate-cloud`. What goes wrong ([`CloudFaults`]) can be
//! changed while it runs; what it received, refused and did on purpose is in its [`CloudReport`].
//!
//! From a connection inwards: `door` accepts, `line` limits how fast bytes pass, `passage` decides what befalls a request,
//! and `s3`, `receiver`, `gateway` and `oss` answer it. `switch` holds the faults as they are now, `ledger` what is counted. Another service
//! is one more `passage::Service`, with a door of its own.

mod content;
mod control;
mod dialect;
mod door;
mod faults;
mod gateway;
mod ledger;
mod line;
mod options;
mod oss;
mod passage;
mod rate;
mod receiver;
mod report;
mod run;
mod s3;
mod shelf;
mod sts;
mod switch;

pub use faults::{CloudFaults, LostAnswers, Operation, Outage, OutageKind};
pub use gateway::CloudDevice;
pub use options::CloudOptions;
pub use report::{CloudReport, EpisodeReport, LogicalUploadReport, ObjectReport, RepeatedEpisodeReport, UnfinishedReport};
pub use run::{Addresses, Cloud};
pub use sts::StsCredentials;
