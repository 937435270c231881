//! Leaders and followers: topics of joints whose names differ in that word alone, and how one follows the other.
//!
//! Positions are kept thirty times a second, thinned where a recording is long, so that a lag can be tried.

use std::cmp::Ordering;

use crate::domain::measurement::PairFacts;

const LEADERS: [&str; 9] = ["lead", "leader", "master", "action", "actions", "command", "commands", "cmd", "target"];
const FOLLOWERS: [&str; 9] = ["follow", "follower", "puppet", "slave", "state", "states", "observation", "observations", "measured"];

/// Whether one topic leads and the other follows, by their names.
pub fn follows(leader: &str, follower: &str) -> bool {
    let words = |name: &str| name.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect::<Vec<_>>();
    let (leader, follower) = (words(leader), words(follower));
    let mut others = leader.iter().zip(&follower).filter(|(one, other)| one != other);
    let (Some((one, other)), None, Ordering::Equal) = (others.next(), others.next(), leader.len().cmp(&follower.len())) else {
        return false;
    };
    LEADERS.contains(&one.as_str()) && FOLLOWERS.contains(&other.as_str())
}

/// Topics whose positions are kept: half a megabyte each.
pub const SERIES_MAX: usize = 16;
const VALUES_MAX: usize = 120_000;
const TIMES_MAX: usize = 15_000;
const SPACING_NS: u64 = 1_000_000_000 / 30;

/// Positions of one topic, in the order of time.
#[derive(Default)]
pub struct Series {
    dof: usize,
    times: Vec<u64>,
    values: Vec<f32>,
    spacing_ns: u64,
}

impl Series {
    /// Messages of another shape, out of order, or too near to the one before are left out.
    pub fn push(&mut self, positions: &[f64], at: u64) {
        if self.times.is_empty() {
            (self.dof, self.spacing_ns) = (positions.len(), SPACING_NS);
        }
        // A little too near is near enough to the grid.
        let near = |last: &u64| at < last.saturating_add(self.spacing_ns - self.spacing_ns / 4);
        if self.dof == 0 || positions.len() != self.dof || self.dof > VALUES_MAX / 1000 || self.times.last().is_some_and(near) {
            return;
        }
        if self.times.len() >= TIMES_MAX || self.values.len() + self.dof > VALUES_MAX {
            self.thin();
        }
        self.times.push(at);
        self.values.extend(positions.iter().map(|position| *position as f32));
    }

    fn thin(&mut self) {
        let dof = self.dof;
        let half = self.times.len().div_ceil(2);
        for n in 0..half {
            self.times[n] = self.times[2 * n];
            self.values.copy_within(2 * n * dof..(2 * n + 1) * dof, n * dof);
        }
        self.times.truncate(half);
        self.values.truncate(half * dof);
        self.spacing_ns = self.spacing_ns.saturating_mul(2);
    }

    fn row(&self, n: usize) -> &[f32] {
        &self.values[n * self.dof..(n + 1) * self.dof]
    }

    /// Of each joint the median of its positions without their sign; the largest of these, in millionths.
    pub fn typical_urad(&self) -> Option<u64> {
        let median = |joint: usize| {
            let mut all: Vec<f32> =
                self.values.iter().skip(joint).step_by(self.dof).map(|value| value.abs()).filter(|value| value.is_finite()).collect();
            all.sort_unstable_by(f32::total_cmp);
            all.get(all.len() / 2).copied()
        };
        let largest = (0..self.dof).filter_map(median).max_by(f32::total_cmp)?;
        Some((f64::from(largest) * 1e6).round() as u64)
    }

    /// Where it is between two looks; nothing before the first and behind the last.
    fn at(&self, time: u64, from: &mut usize, joint: usize) -> Option<f32> {
        while self.times.get(*from + 1).is_some_and(|next| *next <= time) {
            *from += 1;
        }
        let (before, after) = (*self.times.get(*from)?, *self.times.get(*from + 1)?);
        if time < before {
            return None;
        }
        let share = (time - before) as f32 / (after - before).max(1) as f32;
        let (one, other) = (self.row(*from)[joint], self.row(*from + 1)[joint]);
        Some(one + (other - one) * share)
    }
}

const LAG_STEP_NS: u64 = 10_000_000;
const LAG_STEPS: u64 = 50;
/// Below it a joint stands still from one look to the next.
const QUIET_RAD: f32 = 1e-3;

/// How the follower follows.
pub fn compare(names: (&str, &str), leader: &Series, follower: &Series) -> PairFacts {
    let mut facts = PairFacts { leader: names.0.to_owned(), follower: names.1.to_owned(), ..PairFacts::default() };
    if leader.dof != follower.dof || leader.dof == 0 {
        return facts;
    }
    let mean = |lag: u64| {
        let (count, sum) = errors(leader, follower, lag)
            .iter()
            .flatten()
            .fold((0u64, 0.0), |(count, sum), error| (count + 1, sum + f64::from(error.abs())));
        (count > 0).then(|| sum / count as f64)
    };
    let tried = (0..=LAG_STEPS).map(|step| step * LAG_STEP_NS).filter_map(|lag| Some((lag, mean(lag)?)));
    let Some((lag, _)) = tried.min_by(|(_, one), (_, other)| one.total_cmp(other)) else { return facts };
    let rows = errors(leader, follower, lag);
    let mut largest: Vec<f32> = rows.iter().map(|row| row.iter().fold(0.0f32, |largest, error| largest.max(error.abs()))).collect();
    largest.sort_unstable_by(f32::total_cmp);
    let urad = |value: f32| (f64::from(value) * 1e6).round() as u64;
    facts.compared = rows.len() as u64;
    facts.lag_ms = lag / 1_000_000;
    facts.p95_urad = largest.get((largest.len() * 95).div_ceil(100).saturating_sub(1)).map_or(0, |value| urad(*value));
    let quiet = quiet(leader, follower);
    facts.quiet = quiet.len() as u64;
    let offset = |joint: usize| {
        let mut all: Vec<f32> = quiet.iter().map(|row| row[joint]).collect();
        all.sort_unstable_by(f32::total_cmp);
        all.get(all.len() / 2).map(|median| median.abs())
    };
    facts.offset_urad = (0..leader.dof).filter_map(offset).max_by(f32::total_cmp).map(urad);
    facts
}

/// For each look at the follower, how far each joint is from where the leader was before the lag.
fn errors(leader: &Series, follower: &Series, lag: u64) -> Vec<Vec<f32>> {
    let mut from = 0;
    let row = |n: usize| {
        let time = follower.times[n].checked_sub(lag)?;
        let row: Option<Vec<f32>> =
            (0..leader.dof).map(|joint| Some(follower.row(n)[joint] - leader.at(time, &mut from, joint)?)).collect();
        row.filter(|row| row.iter().all(|error| error.is_finite()))
    };
    (0..follower.times.len()).filter_map(row).collect()
}

/// The same without a lag, where both stand still.
fn quiet(leader: &Series, follower: &Series) -> Vec<Vec<f32>> {
    let still = |series: &Series, n: usize| {
        n > 0 && series.row(n).iter().zip(series.row(n - 1)).all(|(now, before)| (now - before).abs() < QUIET_RAD)
    };
    let mut from = 0;
    let row = |n: usize| {
        let first = leader.at(follower.times[n], &mut from, 0)?;
        let quiet = first.is_finite() && still(follower, n) && still(leader, from + 1) && (from == 0 || still(leader, from));
        quiet.then(|| follower.row(n).iter().zip(leader.row(from)).map(|(one, other)| one - other).collect::<Vec<f32>>())
    };
    (0..follower.times.len()).filter_map(row).filter(|row: &Vec<f32>| row.iter().all(|error| error.is_finite())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_leads() {
        assert!(follows("/robot/arm_left_lead/joint_states", "/robot/arm_left_follow/joint_states"));
        assert!(follows("/joint_command", "/joint_states") && follows("/action/left", "/observation/left"));
        for (one, other) in [
            ("/arm_left_lead/joint_states", "/arm_right_follow/joint_states"),
            ("/follow/joint_states", "/lead/joint_states"),
            ("/lead", "/lead"),
            ("/lead/x", "/follow"),
            ("/misleading", "/misfollowing"),
        ] {
            assert!(!follows(one, other), "{one} {other}");
        }
    }

    fn series(seconds: u64, hz: u64, position: impl Fn(f64) -> [f64; 2]) -> Series {
        let mut series = Series::default();
        (0..seconds * hz).for_each(|n| series.push(&position(n as f64 / hz as f64), 7 + n * 1_000_000_000 / hz));
        series
    }

    #[test]
    fn lag_error_and_offset_are_found() {
        let moves = |t: f64| [(t * 2.0).sin(), if t < 5.0 { 0.5 } else { (t * 3.0).cos() }];
        let (leader, follower) = (series(20, 50, moves), series(20, 50, |t| moves(t - 0.12).map(|value| value + 0.03)));
        let facts = compare(("/lead", "/follow"), &leader, &follower);
        assert!((110..=130).contains(&facts.lag_ms), "{facts:?}");
        assert!((28_000..60_000).contains(&facts.p95_urad) && facts.compared > 450, "{facts:?}");
        // Where nothing stands still, nothing is said of an offset.
        assert_eq!((facts.quiet, facts.offset_urad), (0, None));
        let rests = |offset: f64| move |t: f64| [if t < 10.0 { 0.2 + offset } else { (t * 2.0).sin() }, 0.1];
        let facts = compare(("/lead", "/follow"), &series(20, 50, rests(0.0)), &series(20, 50, rests(0.25)));
        assert!(facts.quiet > 200 && facts.offset_urad.unwrap().abs_diff(250_000) < 100, "{facts:?}");
        let other = series(20, 50, |_| [f64::NAN; 2]);
        assert_eq!(compare(("/lead", "/follow"), &other, &follower).compared, 0);
    }

    #[test]
    fn hours_are_thinned_and_degrees_are_seen() {
        let long = series(7200, 100, |t| [t % 2.0, 45.0]);
        assert!(long.times.len() <= TIMES_MAX && long.values.len() <= VALUES_MAX);
        assert!(*long.times.last().unwrap() > 7199 * 1_000_000_000);
        assert_eq!(long.typical_urad(), Some(45_000_000));
        assert_eq!(Series::default().typical_urad(), None);
    }
}
