//! What goes wrong on a factory floor, on purpose and by chance.
//!
//! Shares are of 0 to 1; rates are per minute of the robot's own time, so a robot at twenty times the
//! pace has twenty times as many per minute of the wall. All are zero unless they are asked for.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[derive(Debug, Clone, Copy, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Faults")]
pub struct Faults {
    /// Share of an uploader's long messages whose later fragments hold foreign bytes
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub corrupt_messages: f64,
    /// Share of an uploader's messages that are sent twice
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub repeated_messages: f64,
    /// Share of callbacks that never leave the robot
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub lost_callbacks: f64,
    /// Share of upload attempts that the network ends, before or after the object is stored
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub failed_uploads: f64,
    /// Share of recordings whose object is damaged on its way, under the checksum of the sound file
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub damaged_uploads: f64,
    /// Connections that just end, per minute and socket
    #[arg(long, value_name = "PER_MINUTE", default_value_t = 0.0, value_parser = rate)]
    pub lost_connections: f64,
    /// Times per minute and socket that a robot neither reads nor writes, for up to a minute
    #[arg(long, value_name = "PER_MINUTE", default_value_t = 0.0, value_parser = rate)]
    pub silences: f64,
    /// Kills of both programs, per minute and robot; they are started again within ten seconds
    #[arg(long, value_name = "PER_MINUTE", default_value_t = 0.0, value_parser = rate)]
    pub crashes: f64,
    /// Times per minute that a second robot with the same id is switched on, for up to ten seconds
    #[arg(long, value_name = "PER_MINUTE", default_value_t = 0.0, value_parser = rate)]
    pub doubles: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is from 0 to 1".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if rate.is_finite() && rate >= 0.0 { Ok(rate) } else { Err("a rate is 0 or more per minute".to_owned()) }
}

/// Whether something with this share happens this time.
pub(super) fn happens(share: f64, rng: &mut StdRng) -> bool {
    share > 0.0 && rng.random_bool(share.min(1.0))
}

/// When something with this rate happens next: independent of when it happened before.
pub(super) fn next(per_minute: f64, pace: f64, rng: &mut StdRng) -> Duration {
    if per_minute <= 0.0 {
        return NEVER;
    }
    let minutes = -rng.random_range(f64::EPSILON..1.0).ln() / per_minute;
    Duration::try_from_secs_f64(minutes * 60.0 / pace).unwrap_or(NEVER).min(NEVER)
}

/// Up to `longest`, of the robot's own time.
pub(super) fn a_while(longest: Duration, pace: f64, rng: &mut StdRng) -> Duration {
    longest.mul_f64(rng.random_range(0.05..1.0)).div_f64(pace)
}

/// What was seen of corrupt messages: the first fragment is right, the others are foreign memory, mostly no
/// UTF-8, sometimes well-formed text.
pub(super) fn foreign_bytes(fragment: &mut [u8], rng: &mut StdRng) {
    if rng.random_bool(0.8) {
        rng.fill(fragment);
        if let Some(first) = fragment.first_mut() {
            *first = 0xff;
        }
    } else {
        fragment.fill_with(|| rng.random_range(b' '..=b'~'));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_rate_is_kept_on_average() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut mean = |rate, pace| (0..10_000).map(|_| next(rate, pace, &mut rng).as_secs_f64()).sum::<f64>() / 10_000.0;
        assert!((28.0..32.0).contains(&mean(2.0, 1.0)));
        assert!((1.4..1.6).contains(&mean(2.0, 20.0)));
        assert_eq!(next(0.0, 1.0, &mut StdRng::seed_from_u64(1)), NEVER);
    }

    #[test]
    fn shares_and_rates_are_checked() {
        assert_eq!(share("0.25"), Ok(0.25));
        assert!(share("1.5").is_err() && share("-0.1").is_err() && share("NaN").is_err() && share("x").is_err());
        assert!(rate("-1").is_err() && rate("inf").is_err() && rate("3").is_ok());
    }
}
