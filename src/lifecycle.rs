//! Signals, and tasks that are owned and awaited.
