//! What people switch while the server runs: whether approved episodes are pushed by themselves, and clouds that get nothing for a while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::aggregate::events;
use super::super::refusal::{RefusalCode, Refused};
use super::super::{Aggregate, Timestamp};
use super::CloudName;

/// There is one, whose stream has this id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncControl {
    /// Nobody has switched anything: the settings hold.
    #[default]
    Untouched,
    Touched(Standing),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// None: as the settings have it.
    pub auto_scan: Option<bool>,
    pub paused: BTreeMap<CloudName, PausedCloud>,
    /// How often anything was switched.
    pub revision: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PausedCloud {
    pub reason: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug)]
pub enum ControlCommand {
    SwitchAutoScan {
        on: bool,
        /// What it is, where nobody has switched it.
        by_default: bool,
        /// The revision that the caller saw.
        expected: Option<i64>,
    },
    Pause {
        cloud: CloudName,
        reason: String,
        at: Timestamp,
    },
    Resume {
        cloud: CloudName,
    },
}

events! {
    ControlEvent {
        AutoScanSwitched = "auto_scan_switched", "1.0" { on: bool },
        CloudPaused = "cloud_paused", "1.0" { cloud: CloudName, reason: String, at: Timestamp },
        CloudResumed = "cloud_resumed", "1.0" { cloud: CloudName },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlRefusal {
    #[error("the settings of cloud sync were changed meanwhile: they have the revision {revision} now")]
    Changed { revision: i64 },
}

impl Refused for ControlRefusal {
    fn code(&self) -> RefusalCode {
        RefusalCode::ConfigChanged
    }

    fn values(&self) -> serde_json::Value {
        let Self::Changed { revision } = self;
        serde_json::json!({ "revision_id": revision })
    }
}

impl SyncControl {
    pub fn standing(&self) -> Standing {
        match self {
            Self::Untouched => Standing::default(),
            Self::Touched(standing) => standing.clone(),
        }
    }
}

impl Aggregate for SyncControl {
    const TYPE: &'static str = "sync_control";
    type Command = ControlCommand;
    type Event = ControlEvent;
    type Refusal = ControlRefusal;

    fn decide(&self, command: ControlCommand) -> Result<Vec<ControlEvent>, ControlRefusal> {
        let now = self.standing();
        Ok(match command {
            ControlCommand::SwitchAutoScan { expected: Some(expected), .. } if expected != now.revision => {
                return Err(ControlRefusal::Changed { revision: now.revision });
            }
            ControlCommand::SwitchAutoScan { on, by_default, .. } => {
                (now.auto_scan.unwrap_or(by_default) != on).then_some(ControlEvent::AutoScanSwitched { on }).into_iter().collect()
            }
            ControlCommand::Pause { cloud, .. } if now.paused.contains_key(&cloud) => vec![],
            ControlCommand::Pause { cloud, reason, at } => vec![ControlEvent::CloudPaused { cloud, reason, at }],
            ControlCommand::Resume { cloud } => {
                now.paused.contains_key(&cloud).then_some(ControlEvent::CloudResumed { cloud }).into_iter().collect()
            }
        })
    }

    fn evolve(&mut self, event: &ControlEvent) {
        let mut now = self.standing();
        now.revision += 1;
        match event {
            ControlEvent::AutoScanSwitched { on } => now.auto_scan = Some(*on),
            ControlEvent::CloudPaused { cloud, reason, at } => {
                now.paused.insert(*cloud, PausedCloud { reason: reason.clone(), at: *at });
            }
            ControlEvent::CloudResumed { cloud } => {
                now.paused.remove(cloud);
            }
        }
        *self = Self::Touched(now);
    }
}
