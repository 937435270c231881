//! Keystone Edge: the server of a robot-data factory.
//!
//! What a request, a device frame or a subscriber asks for becomes a command; a pure
//! function decides; events, read models and outbox rows are committed together;
//! what has to be sent is sent from the outbox until it has arrived. There is no
//! second door. `docs/ARCHITECTURE.md` walks through one recording.
//!
//! Modules, in the order one would read them. Where one needs clocks, chance or pauses all over, it says so here;
//! elsewhere a file does (`clippy.toml`).

// Tests play the world around the program, which has clocks and chance.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

// The rules, and nothing that waits, stores or knows the time.
pub mod domain;

// The core: events, what follows from them, and what is sent because of them.
pub mod commands;
#[expect(clippy::disallowed_methods, reason = "tries, circuits and polling have their pauses, spread by chance")]
pub mod dispatcher;
pub mod eventstore;
pub mod outbox;
pub mod projections;

// The edges.
pub mod devices;
pub mod http;
pub mod streams;
pub mod subscribers;

// What is spoken with the data gateway of the cloud: generated.
pub mod gateway_api;

// Recordings: where they lie, what they hold, what they are worth.
pub mod blobs;
#[expect(clippy::disallowed_methods, reason = "parts have their pauses between tries, and what is sent has its time")]
pub mod cloud;
pub mod mcap;
pub mod qa;
pub mod quality;

// What leaves the house, so that others can check it.
pub mod certificates;

// Running it.
#[expect(
    clippy::disallowed_methods,
    reason = "the loops that keep connections and leases pause between tries, and a process has a random id"
)]
pub mod app;
#[expect(clippy::disallowed_methods, reason = "it is a user of the server, with a clock of its own")]
pub mod cli;
pub mod config;
#[expect(clippy::disallowed_methods, reason = "it compares the clocks of other hosts with that of this one")]
pub mod doctor;
#[expect(
    clippy::disallowed_methods,
    reason = "an S3 server tells the time of this machine, secrets are made here, and a starting Postgres is looked at again"
)]
pub mod embedded;
#[expect(clippy::disallowed_methods, reason = "the end of the process is awaited whatever hangs")]
pub mod lifecycle;
#[expect(clippy::disallowed_methods, reason = "bodies and connections have a time to arrive within")]
pub mod listener;
#[expect(clippy::disallowed_methods, reason = "connections are tried again after a while, and watched")]
pub mod pg;
#[expect(clippy::disallowed_methods, reason = "it is a robot, with a clock and a mind of its own")]
pub mod simulator;
pub mod telemetry;
