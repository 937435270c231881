//! Inspectors: people who decide about what a machine could not. Who they are and their passwords stand beside the log.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::aggregate::events;
use super::episode::Level;
use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, OrganizationId};

words! {
    /// Whether an inspector is at work.
    InspectorStatus {
        Active = "active",
        /// They cannot sign in, and what they hold goes back.
        Inactive = "inactive",
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inspector {
    #[default]
    Absent,
    Known(Terms),
    /// Their number and what they decided stay.
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    pub organization_id: OrganizationId,
    pub certification_level: Level,
    pub status: InspectorStatus,
    pub metadata: Value,
}

#[derive(Clone, Debug)]
pub enum InspectorCommand {
    Create(Terms),
    /// What is not given stays.
    Change {
        certification_level: Option<Level>,
        status: Option<InspectorStatus>,
        metadata: Option<Value>,
        /// Whether something that stands beside the log changes with it.
        beside: bool,
    },
    Delete,
}

events! {
    InspectorEvent {
        InspectorCreated = "inspector_created", "1.0" (Terms),
        /// As they are now.
        InspectorChanged = "inspector_changed", "1.0" (Terms),
        InspectorDeleted = "inspector_deleted", "1.0" {},
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectorRefusal {
    #[error("there is an inspector of this id")]
    Exists,
    #[error("inspector not found")]
    NotFound,
}

impl Refused for InspectorRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Exists => RefusalCode::EntryExists,
            Self::NotFound => RefusalCode::InspectorNotFound,
        }
    }
}

impl Aggregate for Inspector {
    const TYPE: &'static str = "inspector";
    type Command = InspectorCommand;
    type Event = InspectorEvent;
    type Refusal = InspectorRefusal;

    fn decide(&self, command: InspectorCommand) -> Result<Vec<InspectorEvent>, InspectorRefusal> {
        match (self, command) {
            (Self::Absent, InspectorCommand::Create(terms)) => Ok(vec![InspectorEvent::InspectorCreated(terms)]),
            (Self::Known(_) | Self::Deleted, InspectorCommand::Create(_)) => Err(InspectorRefusal::Exists),
            (Self::Absent | Self::Deleted, InspectorCommand::Change { .. } | InspectorCommand::Delete) => Err(InspectorRefusal::NotFound),
            (Self::Known(_), InspectorCommand::Delete) => Ok(vec![InspectorEvent::InspectorDeleted {}]),
            (Self::Known(terms), InspectorCommand::Change { certification_level, status, metadata, beside }) => {
                let changed = Terms {
                    organization_id: terms.organization_id,
                    certification_level: certification_level.unwrap_or(terms.certification_level),
                    status: status.unwrap_or(terms.status),
                    metadata: metadata.unwrap_or_else(|| terms.metadata.clone()),
                };
                Ok(if changed == *terms && !beside { vec![] } else { vec![InspectorEvent::InspectorChanged(changed)] })
            }
        }
    }

    fn evolve(&mut self, event: &InspectorEvent) {
        match event {
            InspectorEvent::InspectorCreated(terms) | InspectorEvent::InspectorChanged(terms) => *self = Self::Known(terms.clone()),
            InspectorEvent::InspectorDeleted {} => *self = Self::Deleted,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_given_stays_and_nothing_is_changed_twice() {
        let terms = Terms {
            organization_id: OrganizationId(1),
            certification_level: Level::Level1,
            status: InspectorStatus::Active,
            metadata: json!({}),
        };
        let mut inspector = Inspector::default();
        let change = || InspectorCommand::Change { certification_level: Some(Level::Senior), status: None, metadata: None, beside: false };
        assert_eq!(inspector.decide(change()), Err(InspectorRefusal::NotFound));
        for (command, events) in [(InspectorCommand::Create(terms.clone()), 1), (change(), 1), (change(), 0)] {
            let decided = inspector.decide(command).unwrap();
            assert_eq!(decided.len(), events);
            decided.iter().for_each(|event| inspector.evolve(event));
        }
        assert_eq!(inspector, Inspector::Known(Terms { certification_level: Level::Senior, ..terms.clone() }));
        assert_eq!(inspector.decide(InspectorCommand::Create(terms)), Err(InspectorRefusal::Exists));
        inspector.evolve(&InspectorEvent::InspectorDeleted {});
        assert_eq!(inspector.decide(InspectorCommand::Delete), Err(InspectorRefusal::NotFound), "once");
    }
}
