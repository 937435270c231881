//! What is to be said about the robots of a site, and the keys with which they upload.

use super::report::Finding;
use crate::projections::reads::site::Robots;

/// More names than this help nobody.
const NAMES_MAX: usize = 10;

#[derive(Clone, Debug)]
pub struct Seen {
    pub robots: Robots,
    /// Robots that have no key of their own to the store.
    pub keyless: Vec<Keyless>,
}

#[derive(Clone, Debug)]
pub struct Keyless {
    pub device_id: String,
    /// Only then it can be given one.
    pub in_service: bool,
}

/// The key that robots shared before each had its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedKey {
    /// The store is not ours, and neither are its keys.
    Elsewhere,
    Absent,
    Refused,
    Opens,
}

pub fn judge(seen: &Seen, shared: SharedKey) -> Vec<Finding> {
    let Seen { robots: Robots { known, connected }, keyless } = seen;
    let mut findings = vec![Finding::ok("robots.connected", format!("{connected} of {known} known robots are connected"))];
    findings.extend(keys(keyless, shared));
    findings
}

fn keys(keyless: &[Keyless], shared: SharedKey) -> Option<Finding> {
    let id = "robots.store_keys";
    let rotate = "rotate their tokens and configure them from the answers (docs/operations.md, Robots)";
    let (working, gone): (Vec<&Keyless>, Vec<&Keyless>) = keyless.iter().partition(|robot| robot.in_service);
    Some(match (shared, working.as_slice(), gone.as_slice()) {
        (SharedKey::Elsewhere, ..) => return None,
        (SharedKey::Opens, [], []) => Finding::warning(
            id,
            "no robot needs the key that all shared, and it still opens the store",
            "set KEYSTONE_S3_SHARED_KEY=refused",
        ),
        // They are given no key any more.
        (SharedKey::Opens, [], gone) => Finding::warning(
            id,
            format!("robots that are out of service can bring what they still have only with the key that all share: {}", names(gone)),
            "when everything that they recorded has arrived, set KEYSTONE_S3_SHARED_KEY=refused",
        ),
        (SharedKey::Opens, working, _) => Finding::warning(
            id,
            format!("{} robots have no key of their own, and upload with the one that all share: {}", working.len(), names(working)),
            format!("{rotate}; look here again before you set KEYSTONE_S3_SHARED_KEY=refused"),
        ),
        (SharedKey::Absent | SharedKey::Refused, [], _) => Finding::ok(id, "every robot in service has a key of its own to the store"),
        (SharedKey::Absent | SharedKey::Refused, working, _) => {
            Finding::warning(id, format!("{} robots have no key to the store and cannot upload: {}", working.len(), names(working)), rotate)
        }
    })
}

fn names(robots: &[&Keyless]) -> String {
    let mut names = robots.iter().take(NAMES_MAX).map(|robot| robot.device_id.as_str()).collect::<Vec<_>>().join(", ");
    if robots.len() > NAMES_MAX {
        names.push_str(", …");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Level::{Ok, Warning};

    #[test]
    fn robots_with_a_key_that_opens_more_than_their_own_folder_are_named() {
        let seen = |working: usize, gone: usize| Seen {
            robots: Robots { known: 20, connected: 18 },
            keyless: (0..working + gone).map(|n| Keyless { device_id: format!("AB-{n}"), in_service: n < working }).collect(),
        };
        for (working, gone, shared, level, says) in [
            (0, 0, SharedKey::Absent, Ok, "every robot in service has a key"),
            (0, 0, SharedKey::Refused, Ok, "every robot in service has a key"),
            (0, 1, SharedKey::Refused, Ok, "every robot in service has a key"),
            (0, 0, SharedKey::Opens, Warning, "still opens the store"),
            (0, 1, SharedKey::Opens, Warning, "only with the key that all share: AB-0"),
            (2, 1, SharedKey::Opens, Warning, "2 robots have no key of their own, and upload with the one that all share: AB-0, AB-1"),
            (12, 0, SharedKey::Opens, Warning, "AB-9, …"),
            (1, 1, SharedKey::Refused, Warning, "cannot upload: AB-0"),
            (1, 0, SharedKey::Absent, Warning, "cannot upload: AB-0"),
        ] {
            let findings = judge(&seen(working, gone), shared);
            assert_eq!((findings[1].id, findings[1].level), ("robots.store_keys", level));
            assert!(findings[1].seen.contains(says), "{findings:?}");
        }
        assert_eq!(judge(&seen(3, 1), SharedKey::Elsewhere).len(), 1);
    }
}
