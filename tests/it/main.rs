//! Features, tested through the front door on a real Postgres. One binary, one
//! harness; a file per feature.

// Tests play the world around the server, which has clocks and chance.
#![allow(clippy::disallowed_methods)]

mod harness;
mod sources;

mod administrator;
mod blobs;
mod bulk;
mod bulk_runs;
mod claims;
mod clocks;
mod compose;
mod contention;
mod contract;
mod data_folder;
mod database_faults;
mod dead_letters;
mod demo;
mod description;
mod destinations;
mod device_commands;
mod device_plane;
mod doctor;
mod documented;
mod downloads;
mod embedded_postgres;
mod event_log;
mod eventstore;
mod factory;
mod half_dead;
mod help;
mod hostile;
mod http_lists;
mod http_login;
mod http_slice;
mod idempotency;
mod kill;
mod leadership;
mod links;
mod lists;
mod log_invariants;
mod must_not;
mod no_tokens;
mod object_store;
mod outbox;
mod people;
mod pg;
mod private_postgres;
mod processes;
mod read_models;
mod registration;
mod round_trips;
mod scope;
mod settings;
mod simulate;
mod soak;
mod sound_log;
mod starts;
mod storage;
mod store_keys;
mod store_log;
mod story;
mod strangers;
mod structure;
mod tidy;
mod trace_links;
mod traces;
mod two_hosts;
mod unusual_recordings;
mod upgrade;
mod values;
mod verified_ack;
mod ways_out;
mod webhooks;
