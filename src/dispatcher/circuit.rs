//! An outage costs one probe per interval, not one per row. Pure: the time comes in.

use std::time::{Duration, Instant};

/// First interval between probes; doubles with each failed probe up to the cap.
const PROBE_FIRST: Duration = Duration::from_secs(1);
const PROBE_CAP: Duration = Duration::from_secs(30);

/// ```text
///  closed ──destination down──► open ──interval over──► one probe ──works──► closed
///                                ▲                          │
///                                └───────still down─────────┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Circuit {
    #[default]
    Closed,
    Open {
        until: Instant,
        interval: Duration,
        probing: bool,
    },
}

impl Circuit {
    /// How many deliveries may start now, out of as many as there is room for.
    pub fn allows(&self, now: Instant, room: usize) -> usize {
        match self {
            Circuit::Closed => room,
            Circuit::Open { until, probing, .. } if *probing || now < *until => 0,
            Circuit::Open { .. } => room.min(1),
        }
    }

    pub fn started(&mut self) {
        if let Circuit::Open { probing, .. } = self {
            *probing = true;
        }
    }

    /// The destination answered, with whatever result.
    pub fn reached(&mut self) {
        *self = Circuit::Closed;
    }

    /// Answers how long to rest.
    pub fn down(&mut self, now: Instant) -> Duration {
        let interval = match self {
            Circuit::Closed => PROBE_FIRST,
            // Deliveries under way when it opened say the same again; only a probe counts.
            Circuit::Open { interval, probing: false, .. } => *interval,
            Circuit::Open { interval, probing: true, .. } => (*interval * 2).min(PROBE_CAP),
        };
        *self = Circuit::Open { until: now + interval, interval, probing: false };
        interval
    }

    /// When a probe may start, while the circuit is open.
    pub fn probe_at(&self) -> Option<Instant> {
        match self {
            Circuit::Closed => None,
            Circuit::Open { until, .. } => Some(*until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_costs_one_probe_per_interval() {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        assert_eq!(circuit.allows(start, 8), 8);
        let rest = circuit.down(start);
        circuit.down(start);
        assert_eq!(rest, PROBE_FIRST);
        assert_eq!(circuit.allows(start, 8), 0);
        let later = start + rest;
        assert_eq!(circuit.allows(later, 8), 1);
        circuit.started();
        assert_eq!(circuit.allows(later, 8), 0, "one probe at a time");
        assert_eq!(circuit.down(later), PROBE_FIRST * 2);
        circuit.reached();
        assert_eq!(circuit.allows(later, 8), 8);
    }

    #[test]
    fn the_interval_stops_growing_at_the_cap() {
        let now = Instant::now();
        let mut circuit = Circuit::default();
        for _ in 0..20 {
            circuit.down(now);
            circuit.started();
        }
        assert_eq!(circuit.down(now), PROBE_CAP);
    }
}
