//! What the edges read: rows of the read models, by id and by filter.
//!
//! Each resource has one file with its statements. A statement never changes its text
//! with the filters given: a filter that is not set is `null` and matches everything,
//! so every statement can be prepared, pinned and tested as it stands; where a list can be walked in several ways, each has its statement. What belongs to a factory is
//! asked for with the caller's scope; one that is not everything adds a condition, the same everywhere ([`home`]).

pub mod accounts;
pub mod as_of;
pub mod audit;
pub mod batches;
pub mod breakdown;
pub mod buckets;
pub mod bulk_runs;
pub mod certificates;
pub mod compared;
pub mod counted;
pub mod counted_days;
pub mod counted_groups;
pub mod counted_records;
pub mod credentials;
pub mod dashboard;
pub mod data_ops;
pub mod device_changes;
pub mod devices;
pub mod episodes;
mod error;
pub mod events;
pub mod gaps;
pub mod history;
mod home;
pub mod inspection;
mod keyword;
pub mod letters;
pub mod links;
mod list;
pub mod log;
pub mod log_search;
pub mod log_tree;
mod names;
pub mod objects;
pub mod orders;
pub mod outside_jobs;
mod place;
pub mod qa;
pub mod quality_dashboard;
mod queries;
pub mod references;
pub mod registry;
pub mod requests;
pub(super) mod row;
pub mod salvages;
mod selection;
pub mod site;
pub mod stations;
pub mod subscriptions;
pub mod suites;
pub mod sync;
pub mod tasks;
pub mod templates;
pub mod verdicts;

pub use error::ReadError;
pub use list::{Listed, Page, looks_for_parts, parameter_types};
pub use place::{NotAPlace, Place};
pub use queries::Reads;
pub use selection::Chosen;

/// Every statement of this module with a name, so that a test can prepare them all.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        accounts::statements(),
        as_of::statements(),
        audit::statements(),
        batches::statements(),
        breakdown::statements(),
        bulk_runs::statements(),
        certificates::statements(),
        compared::statements(),
        counted::statements(),
        counted_days::statements(),
        counted_groups::statements(),
        counted_records::statements(),
        credentials::statements(),
        dashboard::statements(),
        data_ops::statements(),
        device_changes::statements(),
        devices::statements(),
        episodes::statements(),
        events::statements(),
        gaps::statements(),
        history::statements(),
        inspection::statements(),
        letters::statements(),
        links::statements(),
        log::statements(),
        log_tree::statements(),
        objects::statements(),
        orders::statements(),
        outside_jobs::statements(),
        qa::statements(),
        quality_dashboard::statements(),
        references::statements(),
        registry::statements(),
        requests::statements(),
        salvages::statements(),
        site::statements(),
        stations::statements(),
        subscriptions::statements(),
        suites::statements(),
        sync::statements(),
        tasks::statements(),
        templates::statements(),
        verdicts::statements(),
    ]
    .concat()
}
