//! Recorder links.

pub mod session;
