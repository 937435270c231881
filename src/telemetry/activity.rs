//! What waits for each subscriber, what this process delivered to it lately, and where it rests: for people who look. Measures tell Prometheus.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Deliveries are counted for as long as this.
const WINDOW: Duration = Duration::from_secs(60);

/// Shared by the dispatcher, by what looks at the outbox every now and then, and by whom people ask.
#[derive(Debug, Default)]
pub struct Activity(Mutex<BTreeMap<&'static str, Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// How many in which moment, the oldest first.
    delivered: VecDeque<(Instant, u64)>,
    /// Until when nothing is sent to a destination but one probe.
    resting: BTreeMap<Option<String>, Instant>,
    queue: Option<Queue>,
}

/// What waits for a subscriber, when it was looked up last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queue {
    /// Counted up to [`WAITING_COUNTED_MAX`], so that a long queue costs no more to look at.
    pub waiting: i64,
    /// For how long the first of it has been due, in seconds.
    pub oldest_s: f64,
}

/// What waits behind so much is not counted.
pub const WAITING_COUNTED_MAX: i64 = 10_000;

/// What is shown of a subscriber.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriberActivity {
    pub subscriber: &'static str,
    /// None before the first look.
    pub queue: Option<Queue>,
    pub delivered_last_minute: u64,
    /// Destinations whose circuit is open, and how long they rest from now on; none where all of the subscriber's rows go one way.
    pub resting: Vec<(Option<String>, Duration)>,
}

impl Activity {
    fn of(&self) -> MutexGuard<'_, BTreeMap<&'static str, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something arrived.
    pub fn delivered(&self, subscriber: &'static str, now: Instant) {
        let mut all = self.of();
        let delivered = &mut all.entry(subscriber).or_default().delivered;
        forget(delivered, now);
        match delivered.back_mut() {
            Some((at, count)) if now.saturating_duration_since(*at) < Duration::from_secs(1) => *count += 1,
            _ => delivered.push_back((now, 1)),
        }
    }

    /// A destination answered, with whatever result.
    pub fn reached(&self, subscriber: &'static str, destination: Option<&str>) {
        if let Some(seen) = self.of().get_mut(subscriber) {
            seen.resting.retain(|resting, _| resting.as_deref() != destination);
        }
    }

    /// Nothing can be delivered there until then.
    pub fn rests(&self, subscriber: &'static str, destination: Option<String>, until: Instant) {
        self.of().entry(subscriber).or_default().resting.insert(destination, until);
    }

    /// What waits was looked up.
    pub fn looked(&self, queues: impl IntoIterator<Item = (&'static str, Queue)>) {
        let mut all = self.of();
        for (subscriber, queue) in queues {
            all.entry(subscriber).or_default().queue = Some(queue);
        }
    }

    /// Every subscriber of which something is known.
    pub fn seen(&self, now: Instant) -> Vec<SubscriberActivity> {
        let mut all = self.of();
        let show = |(&subscriber, seen): (&&'static str, &mut Seen)| {
            forget(&mut seen.delivered, now);
            SubscriberActivity {
                subscriber,
                queue: seen.queue,
                delivered_last_minute: seen.delivered.iter().map(|(_, count)| count).sum(),
                resting: seen.resting.iter().map(|(to, until)| (to.clone(), until.saturating_duration_since(now))).collect(),
            }
        };
        all.iter_mut().map(show).collect()
    }
}

fn forget(delivered: &mut VecDeque<(Instant, u64)>, now: Instant) {
    while delivered.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
        delivered.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_of_the_last_minute_are_counted_and_older_ones_forgotten() {
        let (activity, start) = (Activity::default(), Instant::now());
        for s in [0.0, 0.2, 30.0, 59.0] {
            activity.delivered("qa", start + Duration::from_secs_f64(s));
        }
        let count = |s| activity.seen(start + Duration::from_secs(s))[0].delivered_last_minute;
        assert_eq!([59, 60, 90, 120].map(count), [4, 2, 1, 0]);
        for n in 0..10_000 {
            activity.delivered("qa", start + Duration::from_secs(200) + Duration::from_micros(n));
        }
        assert_eq!(activity.of()["qa"].delivered.len(), 1, "what is kept does not grow with what is delivered");
        assert_eq!(count(201), 10_000);
    }

    #[test]
    fn a_destination_rests_until_it_answers() {
        let (activity, now) = (Activity::default(), Instant::now());
        activity.rests("webhooks", Some("webhook:1".into()), now + Duration::from_secs(8));
        activity.rests("webhooks", Some("webhook:2".into()), now + Duration::from_secs(2));
        activity.looked([("webhooks", Queue { waiting: 3, oldest_s: 1.5 })]);
        activity.reached("webhooks", Some("webhook:2"));
        let seen = activity.seen(now + Duration::from_secs(3));
        let resting = vec![(Some("webhook:1".to_owned()), Duration::from_secs(5))];
        let queue = Some(Queue { waiting: 3, oldest_s: 1.5 });
        assert_eq!(seen, [SubscriberActivity { subscriber: "webhooks", queue, delivered_last_minute: 0, resting }]);
        activity.reached("webhooks", Some("webhook:1"));
        assert_eq!(activity.seen(now)[0].resting, []);
    }
}
