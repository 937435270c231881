//! The REST edge: routes, one file per resource; what is refused and how it is said; who may ask.
//!
//! A handler turns text into typed values, sends one command or asks one query, and shapes
//! the answer. Rules live in `domain`, rows in `projections`; which status says a rule's no
//! is decided nowhere but here.
//!
//! - [`routes`], [`policy`]: lists of routes, each with who may ask and how it is treated.
//! - [`router`]: all of them, and what surrounds them; [`openapi`] describes the same lists.
//! - [`auth`]: who asks, and the guard in front of all routes.
//! - [`problem`], [`extract`], [`intake`], [`wire`], [`request`]: errors, input, output, the request itself.
//! - [`fields`], [`words`]: what a single field may be. [`shown_once`]: secrets that are told once.
//! - [`storage`], [`viewer`]: files of episodes, which leave by [`download`]; [`cors`] says whose pages may read them.
//! - [`logged`], [`export`]: an event of the log as it is told, and many of them as a file; [`exported`]: how any such file is written.
//! - [`audit`]: who did what, and what is recorded of requests for that. [`people`]: who may use the server.
//! - [`live`], [`opening`]: live streams, and how one is opened; [`event_stream`], [`device_stream`] and [`bulk_run_stream`] are what there is.
//! - [`settings`], [`state`]: what the edge is told, and what every handler reaches.
//! - [`asked`], [`requests`]: what is delivered through the outbox: waited for, or looked at later.
//! - [`limits`]: how often something may be asked.
//! - [`fleet`], [`objects`]: what is asked of live devices and of the object store.

pub mod alerts;
pub mod apply_suite;
mod asked;
mod asked_by;
mod at;
mod audit;
pub mod auth;
pub mod batches;
mod bulk_run_stream;
pub mod bulk_runs;
pub mod callbacks;
mod certificates;
mod console;
mod copies;
mod cors;
mod dashboard;
pub mod data_ops;
pub mod dead_letters;
mod describe;
mod device_stream;
pub mod devices;
pub mod disk;
mod download;
mod elsewhere;
pub mod endpoints;
mod episode_filters;
pub mod episodes;
mod event_stream;
pub mod events;
pub mod export;
pub mod exported;
pub mod extract;
pub mod fields;
pub mod fleet;
mod frames;
pub mod gaps;
pub mod health;
mod host;
pub mod idempotency;
mod inspection;
mod intake;
mod limits;
mod live;
mod location;
mod log_tree;
pub mod logged;
mod made;
#[cfg(test)]
mod matrix;
pub mod metrics;
mod neighbours;
mod noted;
pub mod objects;
mod opening;
pub mod operator_word;
pub mod orders;
pub mod outbox;
mod outside_jobs;
pub mod people;
mod platform;
pub mod policy;
mod polling;
mod probe;
pub mod problem;
pub mod production_statistics;
mod qa;
mod quality_dashboard;
pub mod ranking;
pub mod recorder;
mod recorder_state;
pub mod references;
pub mod registration;
pub mod registry;
pub mod request;
pub mod request_id;
pub mod requests;
mod router;
mod routes;
pub mod salvage;
mod settings;
mod shown_once;
mod state;
pub mod station_stream;
pub mod stations;
pub mod statistics;
pub mod storage;
pub mod subscriptions;
pub mod suites;
mod sync;
mod sync_log;
pub mod tasks;
mod timeline;
pub mod transfer;
mod viewer;
pub mod what_if;
pub mod wire;
pub mod words;

pub use limits::RequestLimits;
pub use live::{Live, StreamLimits};
pub use router::{openapi, router};
pub use settings::{AuthMode, EdgeSettings, SyncSettings};
pub use state::{AppState, Means};
