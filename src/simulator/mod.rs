//! Simulated robots that speak the real protocol.
