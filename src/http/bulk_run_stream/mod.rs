//! `GET /data-ops/bulk-runs/{run_id}/stream`: how far a bulk run is, as it goes on.
//!
//! - [`source`]: the runs that are watched, looked at for all who watch.
//! - [`route`]: one watcher, from the present state to the end of the run.

mod route;
mod source;

pub use route::routes;
pub use source::RunSource;
