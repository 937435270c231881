//! Clocks of other hosts.

use super::report::Finding;

/// A host that is off by more makes deadlines and tokens wrong by as much.
const CLOCK_OFF_WARN_S: f64 = 2.0;
const CLOCK_OFF_MAX_S: f64 = 60.0;

/// How far a clock is from that of this host; negative: behind.
pub fn clock(id: &'static str, whose: &str, ahead_s: f64) -> Finding {
    let seen = match ahead_s {
        ahead if ahead.abs() <= CLOCK_OFF_WARN_S => {
            return Finding::ok(id, format!("{whose} and this host agree within {CLOCK_OFF_WARN_S} s"));
        }
        ahead if ahead > 0.0 => format!("the clock of {whose} is {ahead:.0} s ahead of this host"),
        behind => format!("the clock of {whose} is {:.0} s behind this host", -behind),
    };
    let todo = "let NTP set the clocks of both hosts (timedatectl, chronyc tracking)";
    if ahead_s.abs() > CLOCK_OFF_MAX_S { Finding::problem(id, seen, todo) } else { Finding::warning(id, seen, todo) }
}
