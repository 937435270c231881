//! MCAP bytes to facts; decides nothing.
