//! What is to be said about the robots of a site. Which of them still hold the key of the store that all shared
//! belongs here too.

use super::report::Finding;
use crate::projections::reads::site::Robots;

pub fn judge(seen: &Robots) -> Vec<Finding> {
    vec![Finding::ok("robots.connected", format!("{} of {} known robots are connected", seen.connected, seen.known))]
}
