//! Object storage: ranged reads, presigned links.
