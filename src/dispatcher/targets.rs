//! What stands against delivering to a destination: its circuit, and what is under way to it. Each
//! destination has its own, so that one that is down or slow never stops another. Rows without a
//! destination share one. Pure: the time comes in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::circuit::Circuit;
use crate::domain::routing::Destination;

#[derive(Default)]
pub struct Targets {
    /// Those with something under way, or with an open circuit.
    busy: HashMap<Option<Destination>, Target>,
}

#[derive(Default)]
struct Target {
    circuit: Circuit,
    under_way: usize,
}

impl Targets {
    /// How many deliveries to it may start now, of so many at the same time.
    pub fn room(&self, to: &Option<Destination>, concurrency: usize, now: Instant) -> usize {
        let Some(target) = self.busy.get(to) else { return concurrency };
        target.circuit.allows(now, concurrency.saturating_sub(target.under_way))
    }

    pub fn started(&mut self, to: Option<Destination>) {
        let target = self.busy.entry(to).or_default();
        target.under_way += 1;
        target.circuit.started();
    }

    /// A delivery ended; the destination answered, with whatever result. Answers whether it had been down.
    pub fn reached(&mut self, to: &Option<Destination>) -> bool {
        let Some(target) = self.busy.get_mut(to) else { return false };
        target.under_way = target.under_way.saturating_sub(1);
        let was_down = target.circuit.probe_at().is_some();
        target.circuit.reached();
        if target.under_way == 0 {
            self.busy.remove(to);
        }
        was_down
    }

    /// A delivery ended, and nothing can be delivered there. Answers how long to rest.
    pub fn down(&mut self, to: Option<Destination>, now: Instant) -> Duration {
        let target = self.busy.entry(to).or_default();
        target.under_way = target.under_way.saturating_sub(1);
        target.circuit.down(now)
    }

    /// When each destination that is down may be probed.
    pub fn probes(&self) -> impl Iterator<Item = Instant> {
        self.busy.values().filter_map(|target| target.circuit.probe_at())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeviceId;

    fn to(device: &str) -> Option<Destination> {
        Some(Destination::Recorder(DeviceId::parse(device).unwrap()))
    }

    #[test]
    fn a_destination_that_is_down_or_full_leaves_the_room_of_others_alone() {
        let now = Instant::now();
        let mut targets = Targets::default();
        targets.started(to("down"));
        let rest = targets.down(to("down"), now);
        targets.started(to("slow"));
        targets.started(to("slow"));
        let rooms = |targets: &Targets, now| ["down", "slow", "other"].map(|device| targets.room(&to(device), 2, now));
        assert_eq!(rooms(&targets, now), [0, 0, 2]);
        assert_eq!(targets.room(&None, 2, now), 2);
        assert_eq!(targets.probes().collect::<Vec<_>>(), [now + rest]);
        // One probe, and no second one beside it.
        assert_eq!(rooms(&targets, now + rest), [1, 0, 2]);
        targets.started(to("down"));
        assert_eq!(rooms(&targets, now + rest), [0, 0, 2]);
        assert!(targets.reached(&to("down")));
        assert!(!targets.reached(&to("slow")));
        assert_eq!(rooms(&targets, now), [2, 1, 2]);
    }

    #[test]
    fn nothing_is_kept_of_a_destination_that_works_and_has_nothing_under_way() {
        let mut targets = Targets::default();
        targets.started(to("a"));
        targets.started(None);
        targets.down(None, Instant::now());
        targets.reached(&to("a"));
        assert_eq!(targets.busy.len(), 1, "the one that is down");
        targets.started(None);
        targets.reached(&None);
        assert_eq!(targets.busy.len(), 0);
    }
}
