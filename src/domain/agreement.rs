//! How far two people agree about the same things.

use super::episode::Decision;

/// Decisions of one person beside those of others about the same episodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    pub both_approved: i64,
    pub both_rejected: i64,
    /// Approved by the person, rejected by the other one.
    pub only_own: i64,
    pub only_other: i64,
}

impl Pairs {
    pub fn add(&mut self, own: Decision, other: Decision, episodes: i64) {
        *match (own, other) {
            (Decision::Approved, Decision::Approved) => &mut self.both_approved,
            (Decision::Rejected, Decision::Rejected) => &mut self.both_rejected,
            (Decision::Approved, Decision::Rejected) => &mut self.only_own,
            (Decision::Rejected, Decision::Approved) => &mut self.only_other,
        } += episodes;
    }

    pub fn count(&self) -> i64 {
        self.both_approved + self.both_rejected + self.only_own + self.only_other
    }

    /// The share of equal decisions; none without any.
    pub fn share(&self) -> Option<f64> {
        let equal = (self.both_approved + self.both_rejected) as f64;
        (self.count() > 0).then(|| equal / self.count() as f64)
    }

    /// Cohen's kappa: the agreement beyond what chance would give (J. Cohen, 1960). None where chance alone would give all of it.
    pub fn kappa(&self) -> Option<f64> {
        let (all, agreed) = (self.count() as f64, self.share()?);
        let own = (self.both_approved + self.only_own) as f64 / all;
        let other = (self.both_approved + self.only_other) as f64 / all;
        let by_chance = own * other + (1.0 - own) * (1.0 - other);
        (by_chance < 1.0).then(|| (agreed - by_chance) / (1.0 - by_chance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the literature: 50 grants, read by two.
    #[test]
    fn agreement_is_more_than_chance_gives() {
        let pairs = Pairs { both_approved: 20, both_rejected: 15, only_own: 5, only_other: 10 };
        assert_eq!(pairs.share(), Some(0.7));
        assert!((pairs.kappa().unwrap() - 0.4).abs() < 1e-9);
        assert_eq!(Pairs::default().share(), None);
        assert_eq!(Pairs { both_approved: 9, ..Pairs::default() }.kappa(), None);
        let mut counted = Pairs::default();
        counted.add(Decision::Approved, Decision::Rejected, 2);
        counted.add(Decision::Rejected, Decision::Approved, 2);
        assert_eq!((counted.share(), counted.kappa()), (Some(0.0), Some(-1.0)));
    }
}
