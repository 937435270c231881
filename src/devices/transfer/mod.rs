//! Transfer links.

pub mod session;
pub mod status;

#[cfg(test)]
mod tests;
