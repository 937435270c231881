//! Transfer links.

pub mod session;
pub mod status;
