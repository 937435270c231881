//! Positions of joints: numbers at all, one shape, and movement.

use super::fields::Fields;
use super::keep::Keep;
use super::pairs::Series;
use super::pose::EndPose;
use super::smoothness::Smoothness;
use crate::domain::measurement::Joints;

/// Arms have a dozen; more positions than this are read and not followed one by one.
const FOLLOWED_MAX: usize = 256;
/// Slower than this an arm stands still, in rad/s.
const IDLE_RAD_S: f64 = 0.01;

#[derive(Default)]
pub struct JointsMeasure {
    facts: Joints,
    any: bool,
    /// How many, and a checksum of them.
    names: (usize, u32),
    /// Of the message before.
    positions: Vec<f64>,
    at: u64,
    /// Where the present run of equal positions began.
    run: Run,
    lowest: Vec<f64>,
    highest: Vec<f64>,
    first_at: u64,
    moved_first: Option<u64>,
    moved_last: u64,
    keep: Keep,
    smoothness: Smoothness,
    end: EndPose,
    /// Nothing, where positions of too many topics are kept.
    series: Option<Series>,
    spare: Vec<f64>,
}

/// A run of equal things.
#[derive(Clone, Copy, Default)]
pub struct Run {
    pub from: u64,
    pub messages: u64,
}

impl JointsMeasure {
    /// Whose positions are kept, where there is room for them.
    pub fn new(keeps: bool) -> Self {
        Self { series: keeps.then(Series::default), ..Self::default() }
    }

    /// The stamp in the header; nothing, where the payload is not understood.
    pub fn message(&mut self, mut fields: Fields<'_>, log_time: u64) -> Option<u64> {
        let stamp = fields.header()?;
        let names = fields.texts()?;
        let mut positions = std::mem::take(&mut self.spare);
        let whole = fields.f64s(&mut positions).and_then(|()| {
            let (mut velocities, mut efforts) = (vec![], vec![]);
            fields.f64s(&mut velocities)?;
            fields.f64s(&mut efforts)?;
            Some((velocities.iter().chain(&efforts).all(|value| value.is_finite()), velocities))
        });
        if let (Some((others_finite, velocities)), true) = (whole, fields.is_used_up()) {
            self.keep.message(if positions.is_empty() { &velocities } else { &positions }, log_time);
            if let Some(series) = &mut self.series {
                series.push(&positions, log_time);
            }
            self.facts.not_finite_other += u64::from(!others_finite);
            self.positions(names, &mut positions, log_time);
            self.spare = positions;
            return Some(stamp);
        }
        self.spare = positions;
        None
    }

    fn positions(&mut self, names: (usize, u32), positions: &mut Vec<f64>, at: u64) {
        let facts = &mut self.facts;
        facts.not_finite += u64::from(positions.iter().any(|position| !position.is_finite()));
        if !self.any {
            self.any = true;
            facts.dof = positions.len() as u64;
            self.names = names;
            self.lowest = positions.iter().take(FOLLOWED_MAX).copied().collect();
            self.highest.clone_from(&self.lowest);
            (self.first_at, self.run) = (at, Run { from: at, messages: 1 });
        } else if positions.len() != self.positions.len() || names != self.names {
            facts.other_shape += 1;
            self.run = Run { from: at, messages: 1 };
        } else {
            facts.steps += 1;
            if positions.iter().zip(&self.positions).all(|(now, before)| now.to_bits() == before.to_bits()) {
                self.run.messages += 1;
            } else {
                self.run = Run { from: at, messages: 1 };
            }
            let stuck_ns = at.saturating_sub(self.run.from);
            if stuck_ns > facts.stuck_ns {
                (facts.stuck_ns, facts.stuck_from_ns, facts.stuck_messages) = (stuck_ns, self.run.from, self.run.messages);
            }
            let (mut squares, mut largest) = (0.0, 0.0_f64);
            for (now, before) in positions.iter().zip(&self.positions) {
                let step = (now - before).abs();
                if step.is_finite() {
                    squares += step * step;
                    largest = largest.max(step);
                }
            }
            let jump_urad = (largest * 1e6).round() as u64;
            if jump_urad > facts.jump_urad {
                (facts.jump_urad, facts.jump_at_ns) = (jump_urad, at);
            }
            let seconds = at.saturating_sub(self.at) as f64 / 1e9;
            if f64::sqrt(squares) < IDLE_RAD_S * seconds || squares == 0.0 {
                facts.idle_steps += 1;
            } else {
                self.moved_first.get_or_insert(self.at);
                self.moved_last = at;
            }
            for ((low, high), now) in self.lowest.iter_mut().zip(&mut self.highest).zip(&*positions) {
                *low = low.min(*now);
                *high = high.max(*now);
            }
        }
        if positions.len() as u64 == self.facts.dof && names == self.names {
            self.smoothness.message(positions, at);
            self.end.message(positions, at);
        }
        self.at = at;
        std::mem::swap(&mut self.positions, positions);
    }

    pub fn finish(mut self) -> (Option<Joints>, Option<Series>) {
        if !self.any {
            return (None, None);
        }
        let whole = self.at.saturating_sub(self.first_at);
        self.facts.idle_at_start_ns = self.moved_first.map_or(whole, |at| at.saturating_sub(self.first_at));
        self.facts.idle_at_end_ns = self.moved_first.map_or(whole, |_| self.at.saturating_sub(self.moved_last));
        self.facts.unmoved = self.lowest.iter().zip(&self.highest).filter(|(low, high)| low == high).count() as u64;
        self.facts.keep = self.keep.finish();
        self.facts.jerk_milli = self.smoothness.finish();
        self.facts.end_urad = self.end.finish();
        self.facts.typical_urad = self.series.as_ref().and_then(Series::typical_urad);
        (Some(self.facts), self.series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(positions: &[(u64, &[f64])]) -> Joints {
        let mut measure = JointsMeasure::default();
        for (at, positions) in positions {
            measure.positions((2, 7), &mut positions.to_vec(), *at);
        }
        measure.finish().0.unwrap()
    }

    #[test]
    fn an_arm_that_stops_reports_the_same_bits_again_and_again() {
        const S: u64 = 1_000_000_000;
        let joints = measured(&[(0, &[0.0, 1.0]), (S, &[0.5, 1.0]), (2 * S, &[0.5, 1.0]), (3 * S, &[0.5, 1.0]), (4 * S, &[0.2, 1.0])]);
        assert_eq!((joints.dof, joints.steps, joints.unmoved), (2, 4, 1));
        assert_eq!((joints.stuck_ns, joints.stuck_from_ns, joints.stuck_messages), (2 * S, S, 3));
        assert_eq!((joints.jump_urad, joints.jump_at_ns, joints.idle_steps), (500_000, S, 2));
        assert_eq!((joints.idle_at_start_ns, joints.idle_at_end_ns), (0, 0));
    }

    #[test]
    fn how_smoothly_they_move_and_where_they_end_is_that_of_the_first_shape() {
        let arm = |n: u64| [(n as f64 / 25.0).sin(), (n as f64 / 40.0).cos()];
        let ends = |n: u64| if n < 950 { arm(n) } else { arm(950) };
        let measured = |odd: bool| {
            let mut measure = JointsMeasure::default();
            for n in 0..1000u64 {
                measure.positions((2, 7), &mut ends(n).to_vec(), n * 20_000_000);
                if odd && n % 100 == 50 {
                    measure.positions((2, 8), &mut vec![ends(n)[1], ends(n)[0]], n * 20_000_000 + 1);
                    measure.positions((2, 7), &mut vec![9.0], n * 20_000_000 + 2);
                    measure.positions((2, 7), &mut vec![f64::NAN; 2], n * 20_000_000 + 3);
                }
            }
            measure.finish().0.unwrap()
        };
        let (plain, odd) = (measured(false), measured(true));
        assert_eq!((plain.other_shape, odd.not_finite), (0, 10));
        assert!(odd.other_shape >= 20, "{odd:?}");
        assert_eq!((odd.jerk_milli, &odd.end_urad), (plain.jerk_milli, &plain.end_urad));
        assert!(plain.jerk_milli.is_some_and(|milli| (14_000..17_000).contains(&milli)), "{plain:?}");
        assert_eq!(plain.end_urad.items, arm(950).map(|position| (position * 1e6).round() as i64));
    }

    #[test]
    fn what_is_no_number_is_counted_and_moves_nothing() {
        let joints = measured(&[(0, &[0.0]), (1, &[f64::NAN]), (2, &[f64::INFINITY]), (3, &[0.0, 0.0])]);
        assert_eq!((joints.not_finite, joints.other_shape, joints.jump_urad), (2, 1, 0));
    }
}
