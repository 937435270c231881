//! One way to change anything.
