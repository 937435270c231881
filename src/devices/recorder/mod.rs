//! Recorder links.

pub mod session;

#[cfg(test)]
mod tests;
