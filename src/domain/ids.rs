//! Ids as values. A number is an id of exactly one kind of thing; text from outside
//! becomes a typed value once, here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Hands the ids that are numbers to a macro.
macro_rules! numeric_ids {
    ($then:ident) => {
        $then! {
            OrganizationId,
            FactoryId,
            SceneId,
            SubsceneId,
            SkillId,
            SopId,
            RobotTypeId,
            RobotId,
            CollectorId,
            /// One binding version of a workstation: one robot and one data collector.
            StationId,
            OrderId,
            BatchId,
            TaskId,
            EpisodeId,
            LetterId,
            SubscriptionId,
            InspectorId,
            AccountId,
            ApiKeyId,
            /// One login, until it ends.
            SessionId,
            /// One version of a suite.
            QaSuiteId,
            /// One version of a reference.
            QaReferenceId,
            /// One outside check of one run.
            OutsideJobId,
            /// One time that an episode is to be in the cloud.
            SyncChainId,
        }
    };
}
pub(crate) use numeric_ids;

macro_rules! declared {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}", self.0) }
        }
    )+};
}
numeric_ids!(declared);

/// Why a text is not an id that devices can carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 100 characters of A-Z a-z 0-9 . _ - and not start with a dot")]
pub struct InvalidName;

/// Devices put ids raw into file names, object keys and request lines, so only
/// characters that are harmless in all of these are accepted.
fn check_name(text: &str) -> Result<(), InvalidName> {
    let fits = (1..=100).contains(&text.len()) && !text.starts_with('.');
    let harmless = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if fits && harmless { Ok(()) } else { Err(InvalidName) }
}

macro_rules! checked_names {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, InvalidName> { check_name(text).map(|()| Self(text.to_owned())) }
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> { Self::parse(text) }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> { Self::parse(&text) }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String { name.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )+};
}

checked_names! {
    /// The serial under which a robot's recorder and transfer programs connect.
    DeviceId,
    /// The id of a task that people and devices see; the stem of its files.
    PublicTaskId,
}

/// `task_<YYYYMMDD>_<HHMMSS>_<mmm>_<nn>_<8 hex>`: the recipe shared by tasks and batches.
pub fn public_id(kind: &str, at: super::time::Timestamp, ordinal: usize, random: u32) -> String {
    format!("{kind}_{}_{:03}_{:02}_{random:08x}", at.format("%Y%m%d_%H%M%S"), at.timestamp_subsec_millis().min(999), ordinal % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_folder_or_a_request_line_are_refused() {
        for bad in ["", "../x", "a/b", "a b", "ä", ".hidden", "a\0", &"x".repeat(101)] {
            assert_eq!(DeviceId::parse(bad), Err(InvalidName), "{bad:?}");
        }
        for good in ["AB-F0001-T0003-000001", "task_20261120_195239_001_00_0a1b2c3d", "t-off"] {
            assert!(PublicTaskId::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn public_ids_follow_the_contracts_recipe() {
        let at = chrono::DateTime::parse_from_rfc3339("2026-11-20T19:52:39.007Z").unwrap().to_utc();
        assert_eq!(public_id("task", at, 103, 0xab), "task_20261120_195239_007_03_000000ab");
    }
}
