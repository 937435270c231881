//! What is to be said about the robots of a site, and the keys with which they upload.

use super::report::Finding;
use crate::projections::reads::site::Robots;

/// More names than this help nobody.
const NAMES_MAX: usize = 10;

#[derive(Clone, Debug)]
pub struct Seen {
    pub robots: Robots,
    /// Device ids of active robots that have no key of their own to the store.
    pub keyless: Vec<String>,
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

fn keys(keyless: &[String], shared: SharedKey) -> Option<Finding> {
    let id = "robots.store_keys";
    let rotate = "rotate their tokens and configure them from the answers (docs/operations.md, Robots)";
    let mut names = keyless.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if keyless.len() > NAMES_MAX {
        names.push_str(", …");
    }
    Some(match (shared, keyless) {
        (SharedKey::Elsewhere, _) => return None,
        (SharedKey::Opens, []) => Finding::warning(
            id,
            "no robot needs the key that all shared, and it still opens the store",
            "set KEYSTONE_S3_SHARED_KEY=refused",
        ),
        (SharedKey::Opens, _) => Finding::warning(
            id,
            format!("{} robots have no key of their own, and upload with the one that all share: {names}", keyless.len()),
            format!("{rotate}; then set KEYSTONE_S3_SHARED_KEY=refused"),
        ),
        (SharedKey::Absent | SharedKey::Refused, []) => Finding::ok(id, "every robot has a key of its own to the store"),
        (SharedKey::Absent | SharedKey::Refused, _) => {
            Finding::warning(id, format!("{} robots have no key to the store and cannot upload: {names}", keyless.len()), rotate)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Level::{Ok, Warning};

    #[test]
    fn robots_with_a_key_that_opens_more_than_their_own_folder_are_named() {
        let seen = |keyless: usize| Seen {
            robots: Robots { known: 20, connected: 18 },
            keyless: (0..keyless).map(|n| format!("AB-{n}")).collect(),
        };
        for (keyless, shared, level, says) in [
            (0, SharedKey::Absent, Ok, "every robot has a key"),
            (0, SharedKey::Refused, Ok, "every robot has a key"),
            (0, SharedKey::Opens, Warning, "still opens the store"),
            (2, SharedKey::Opens, Warning, "2 robots have no key of their own, and upload with the one that all share: AB-0, AB-1"),
            (12, SharedKey::Opens, Warning, "AB-9, …"),
            (1, SharedKey::Refused, Warning, "cannot upload: AB-0"),
            (1, SharedKey::Absent, Warning, "cannot upload: AB-0"),
        ] {
            let findings = judge(&seen(keyless), shared);
            assert_eq!((findings[1].id, findings[1].level), ("robots.store_keys", level));
            assert!(findings[1].seen.contains(says), "{findings:?}");
        }
        assert_eq!(judge(&seen(3), SharedKey::Elsewhere).len(), 1);
    }
}
