//! Which episodes are meant: the one filter of lists, previews and bulk runs.

use serde::{Deserialize, Serialize};

use super::QaStatus;
use crate::domain::words::words;
use crate::domain::{RobotTypeId, SceneId, SopId, Timestamp};

words! {
    /// How far an episode is on its way to the cloud.
    SyncStatus {
        NotStarted = "not_started",
        Pending = "pending",
        InProgress = "in_progress",
        Completed = "completed",
        Failed = "failed",
    }
}

/// Filters that are all to hold; of the values of one, any. None: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EpisodeSelection {
    /// Made at this instant or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_from: Option<Timestamp>,
    /// Made at this instant or earlier. A whole second is meant to its end, because times are shown in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_to: Option<Timestamp>,
    /// Somewhere in the ids of episode and task, or in the flag; every character stands for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qa_statuses: Option<Vec<QaStatus>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_statuses: Option<Vec<SyncStatus>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenes: Option<Vec<SceneId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sops: Option<Vec<SopId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robot_types: Option<Vec<RobotTypeId>>,
    /// The robot's, or what the workstation remembers of one that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<String>>,
    /// The collector's, or what the workstation remembers of one that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operators: Option<Vec<String>>,
    /// One label, exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl EpisodeSelection {
    /// Whether every episode is meant.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// How far a count may have moved since a preview told it: a hundredth of it, and ten where that is more.
const MOVED_PERCENT: i64 = 1;
const MOVED_AT_LEAST: i64 = 10;

/// Whether so many are not what was expected.
pub fn moved_far(expected: i64, found: i64) -> bool {
    found.abs_diff(expected) > (expected / 100 * MOVED_PERCENT).max(MOVED_AT_LEAST).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_count_may_move_by_a_hundredth_or_by_ten() {
        for (expected, found, far) in [
            (0, 10, false),
            (0, 11, true),
            (100, 90, false),
            (100, 89, true),
            (5000, 5050, false),
            (5000, 5051, true),
            (5000, 4949, true),
            (i64::MAX, 0, true),
        ] {
            assert_eq!(moved_far(expected, found), far, "{expected} {found}");
        }
    }

    #[test]
    fn what_is_not_said_is_not_kept() {
        assert_eq!(json!(EpisodeSelection::default()), json!({}));
        let some = EpisodeSelection { scenes: Some(vec![SceneId(3)]), label: Some("a".into()), ..EpisodeSelection::default() };
        let kept = json!({"scenes": json!([SceneId(3)]), "label": "a"});
        assert_eq!(json!(some), kept);
        assert_eq!(serde_json::from_value::<EpisodeSelection>(kept).unwrap(), some);
        assert!(EpisodeSelection::default().is_everything() && !some.is_everything());
    }
}
