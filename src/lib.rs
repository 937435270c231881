//! Keystone Edge: the server of a robot-data factory.
//!
//! A request, a device frame or a subscriber's wish becomes a command; a pure
//! function decides; events, read models and outbox rows are committed together;
//! what has to be sent is sent from the outbox until it has arrived. There is no
//! second door. `docs/ARCHITECTURE.md` walks through one recording.
//!
//! Modules, in the order one would read them:

// The program itself is held to `clippy.toml`; its tests may wait and roll dice.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

// The rules, and nothing that waits, stores or knows the time.
pub mod domain;

// The core: events, what follows from them, and what is sent because of them.
pub mod commands;
pub mod dispatcher;
pub mod eventstore;
pub mod outbox;
pub mod projections;

// The edges.
pub mod devices;
pub mod http;
pub mod subscribers;

// Recordings and where they lie.
pub mod blobs;
pub mod mcap;

// Running it.
pub mod app;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod embedded;
pub mod lifecycle;
pub mod listener;
pub mod pg;
pub mod simulator;
pub mod telemetry;
