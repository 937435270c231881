//! The rules of the factory: pure, no I/O, no clock, no randomness.
