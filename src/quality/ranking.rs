//! Where to look first: recordings by how far they are from what is usual, and what changed over a shift.
//!
//! Pure, and no threshold of a suite is in it: what depends on the robot is ranked.

use std::collections::BTreeMap;

use crate::domain::Timestamp;
use crate::domain::figures::{Figure, Usual};
use crate::domain::reference::Reference;

pub type Figures = BTreeMap<Figure, i64>;

/// Fewer recordings do not tell what is usual among themselves.
pub const RECORDINGS_MIN: usize = 8;
/// What is nearer is no reason to look.
const REASON_Z: f64 = 2.0;
const REASONS_MAX: usize = 5;

/// Why to look at a recording, or what changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    pub figure: Figure,
    pub value: i64,
    pub usual: Usual,
    /// How far it is from the median, in robust deviations.
    pub z: f64,
}

impl Reason {
    pub fn told(&self) -> String {
        self.figure.told(self.value, &self.usual)
    }
}

/// A recording, by its place among those that were ranked.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    pub place: usize,
    /// Of the number that is farthest from what is usual.
    pub distance: f64,
    /// The farthest first.
    pub reasons: Vec<Reason>,
}

/// What is usual among recordings; nothing where they are too few.
pub fn usual_among<'a>(recordings: impl IntoIterator<Item = &'a Figures>) -> BTreeMap<Figure, Usual> {
    let mut values = BTreeMap::<Figure, Vec<i64>>::new();
    for (figure, value) in recordings.into_iter().flatten() {
        match values.get_mut(figure) {
            Some(values) => values.push(*value),
            None => drop(values.insert(figure.clone(), vec![*value])),
        }
    }
    let enough = values.into_iter().filter(|(_, values)| values.len() >= RECORDINGS_MIN);
    enough.filter_map(|(figure, values)| Some((figure, Usual::of(values)?))).collect()
}

/// The same of a reference.
pub fn usual_in(reference: &Reference) -> BTreeMap<Figure, Usual> {
    reference.figures.items.iter().map(|learned| (learned.figure.clone(), learned.usual)).collect()
}

/// The farthest of recordings first; of equally far ones the one with more reasons, then the earlier one.
pub fn rank(recordings: &[Figures], usual: &BTreeMap<Figure, Usual>, limit: usize) -> Vec<Outlier> {
    let outlier = |(place, figures): (usize, &Figures)| {
        let distances = figures.iter().filter_map(|(figure, value)| Some(usual.get(figure)?.z(figure.measure, *value).abs()));
        let (distance, reasons) = distances.fold((0.0_f64, 0_usize), |(far, many), z| (far.max(z), many + usize::from(z >= REASON_Z)));
        (distance, reasons, place)
    };
    let mut ranked: Vec<_> = recordings.iter().enumerate().map(outlier).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(a.2.cmp(&b.2)));
    ranked.truncate(limit);
    ranked.into_iter().map(|(distance, _, place)| Outlier { place, distance, reasons: reasons(&recordings[place], usual) }).collect()
}

fn reasons(figures: &Figures, usual: &BTreeMap<Figure, Usual>) -> Vec<Reason> {
    let reason = |(figure, value): (&Figure, &i64)| {
        let usual = *usual.get(figure)?;
        let z = usual.z(figure.measure, *value);
        (z.abs() >= REASON_Z).then(|| Reason { figure: figure.clone(), value: *value, usual, z })
    };
    farthest(figures.iter().filter_map(reason).collect(), REASONS_MAX)
}

fn farthest(mut reasons: Vec<Reason>, most: usize) -> Vec<Reason> {
    // Of equally far ones the first.
    reasons.sort_by(|a, b| b.z.abs().total_cmp(&a.z.abs()));
    reasons.truncate(most);
    reasons
}

/// Recordings of one quarter; fewer say nothing of a shift.
pub const QUARTER_MIN: usize = 4;
/// What is nearer did not change.
const DRIFT_Z: f64 = 3.0;
const DRIFTS_MAX: usize = 20;

/// What changed between the first quarter of recordings and the last, in the order in which they were made. None where they are too few.
pub fn drift(recordings: &[Figures]) -> Option<Vec<Reason>> {
    let quarter = recordings.len() / 4;
    if quarter < QUARTER_MIN {
        return None;
    }
    let of = |part: &[Figures], figure: &Figure| {
        let values: Vec<i64> = part.iter().filter_map(|figures| figures.get(figure).copied()).collect();
        (values.len() >= QUARTER_MIN).then(|| Usual::of(values)).flatten()
    };
    let (first, last) = (&recordings[..quarter], &recordings[recordings.len() - quarter..]);
    let mut figures: Vec<&Figure> = first.iter().flat_map(BTreeMap::keys).collect();
    figures.sort_unstable();
    figures.dedup();
    let drifted = |figure: &Figure| {
        let (before, after) = (of(first, figure)?, of(last, figure)?);
        // Of few values one quarter may be alike by chance.
        let usual = Usual { mad: before.mad.max(after.mad), ..before };
        let z = usual.z(figure.measure, after.median);
        (z.abs() > DRIFT_Z).then(|| Reason { figure: figure.clone(), value: after.median, usual, z })
    };
    Some(farthest(figures.into_iter().filter_map(drifted).collect(), DRIFTS_MAX))
}

/// A longer one between two recordings lies between two shifts.
const PAUSE_S: i64 = 2 * 3600;

/// When the shift begins that ends with the last of these times, which go up.
pub fn beginning_of_shift(times: &[Timestamp]) -> Option<Timestamp> {
    let pause = times.windows(2).rposition(|pair| (pair[1] - pair[0]).num_seconds() > PAUSE_S);
    times.get(pause.map_or(0, |at| at + 1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::figures::Measure;

    fn length() -> Figure {
        Figure::whole(Measure::Length)
    }

    fn jump() -> Figure {
        Figure::of(Measure::Jump, "/arm")
    }

    fn recordings(lengths: impl IntoIterator<Item = i64>) -> Vec<Figures> {
        lengths.into_iter().map(|length_ms| Figures::from([(length(), length_ms), (jump(), 90_000)])).collect()
    }

    #[test]
    fn the_farthest_come_first_with_why() {
        let mut all = recordings((0..200).map(|n| 30_000 + n % 20 * 100));
        all[150].insert(length(), 92_000);
        all[20].insert(jump(), 400_000);
        all[21].insert(length(), 33_500);
        let usual = usual_among(&all);
        let ranked = rank(&all, &usual, 8);
        assert_eq!(ranked.len(), 8);
        assert_eq!(ranked[..3].iter().map(|outlier| outlier.place).collect::<Vec<_>>(), [150, 20, 21]);
        assert_eq!(ranked[0].reasons.len(), 1);
        assert_eq!(ranked[0].reasons[0].told(), "the recording takes 92.0 s, usual is 31.0 s");
        assert!(ranked[0].distance > 50.0 && ranked[0].reasons[0].z == ranked[0].distance, "{:?}", ranked[0]);
        assert_eq!(ranked[1].reasons[0].told(), "`/arm` moves at most 0.400 rad, usual is 0.090 rad");
        assert!(ranked[4].reasons.is_empty(), "the rest is as usual");
        // The same once more says the same.
        assert_eq!(rank(&all, &usual_among(&all), 8), ranked);
    }

    #[test]
    fn what_moves_roughly_or_ends_elsewhere_is_among_the_eight() {
        let joint = |n: u32| Figure { joint: Some(n), ..Figure::of(Measure::EndPose, "/arm") };
        let jerk = || Figure::of(Measure::Jerk, "/arm");
        let mut all = recordings((0..200).map(|n| 30_000 + n % 20 * 100));
        for (n, figures) in (0..).zip(&mut all) {
            figures.insert(jerk(), 16_000 + n % 9 * 50);
            figures.extend((0..7).map(|of| (joint(of), i64::from(of) * -200_000 + n % 11 * 1000)));
        }
        all[77].insert(jerk(), 21_000);
        all[133].insert(joint(4), 350_000);
        let ranked = rank(&all, &usual_among(&all), 8);
        let told: Vec<(usize, String)> = ranked[..2].iter().map(|outlier| (outlier.place, outlier.reasons[0].told())).collect();
        let expected = [
            (133, "joint 4 of `/arm` ends at 0.350 rad, usual is -0.795 rad".to_owned()),
            (77, "`/arm` moves with a log dimensionless jerk of 21.00, usual is 16.20".to_owned()),
        ];
        assert_eq!(told, expected);
        assert!(ranked[..2].iter().all(|outlier| outlier.reasons.len() == 1) && ranked[2].reasons.is_empty());
    }

    #[test]
    fn a_hand_that_tires_over_a_shift_is_drift() {
        let mut shift = recordings((0..40).map(|n| 30_000 + n % 5 * 200));
        for (n, figures) in (0..).zip(&mut shift) {
            figures.insert(Figure::of(Measure::Jerk, "/arm"), 16_000 + n % 5 * 40 + n * 60);
        }
        let changes = drift(&shift).unwrap();
        assert_eq!(changes.iter().map(|change| &change.figure).collect::<Vec<_>>(), [&Figure::of(Measure::Jerk, "/arm")]);
        assert!(changes[0].z > 3.0 && changes[0].value > 17_800, "{changes:?}");
    }

    #[test]
    fn few_recordings_do_not_tell_what_is_usual() {
        let few = recordings([30_000, 30_100, 30_200, 90_000, 30_000, 30_000, 30_000]);
        assert!(usual_among(&few).is_empty());
        let ranked = rank(&few, &usual_among(&few), 2);
        assert_eq!(ranked.iter().map(|outlier| (outlier.place, outlier.distance)).collect::<Vec<_>>(), [(0, 0.0), (1, 0.0)]);
    }

    #[test]
    fn a_shift_drifts_where_its_last_quarter_is_another_than_its_first() {
        let times = |n: i64| 30_000 + n % 5 * 200;
        assert_eq!(drift(&recordings((0..15).map(times))), None, "too few");
        assert_eq!(drift(&recordings((0..40).map(times))), Some(vec![]));
        let slower = drift(&recordings((0..40).map(|n| times(n) + n * 150))).unwrap();
        assert_eq!(slower.len(), 1);
        assert!(slower[0].figure == length() && slower[0].z > 3.0 && slower[0].value > 35_000, "{slower:?}");
        // One that went wrong is no drift.
        let mut once = recordings((0..40).map(times));
        once[39].insert(length(), 300_000);
        assert_eq!(drift(&once), Some(vec![]));
    }

    #[test]
    fn a_shift_begins_behind_the_last_long_pause() {
        let at = |hour: f64| Timestamp::from_timestamp((hour * 3600.0) as i64, 0).unwrap();
        assert_eq!(beginning_of_shift(&[]), None);
        assert_eq!(beginning_of_shift(&[at(6.0)]), Some(at(6.0)));
        assert_eq!(beginning_of_shift(&[at(6.0), at(7.9), at(9.9)]), Some(at(6.0)));
        assert_eq!(beginning_of_shift(&[at(1.0), at(3.1), at(4.0), at(6.1), at(7.0)]), Some(at(6.1)));
    }
}
