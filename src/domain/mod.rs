//! The rules of the factory: what may happen, and what follows from what happened.
//!
//! One folder or file per aggregate. `decide` looks at the state and a command and
//! answers with events or with a refusal; `evolve` folds an event into the state and
//! decides nothing. Nothing here waits, stores, logs, or knows what time it is: times,
//! ids and random parts come in with the command.

pub mod access;
pub mod account;
pub mod aggregate;
pub mod agreement;
pub mod alert;
pub mod api_key;
pub mod batch;
pub mod bulk_run;
pub mod canonical_json;
pub mod certificate;
pub mod commitment;
#[cfg(test)]
mod convergence;
pub mod device;
pub mod episode;
pub mod figures;
pub mod gaps;
pub mod ids;
pub mod inspector;
pub mod judgement;
pub mod kinds;
pub mod letter;
pub mod literal_secrets;
pub mod log_tree;
pub mod measurement;
pub mod operator_word;
pub mod order;
pub mod outside_job;
pub mod pattern;
pub mod qa_suite;
pub mod recorder;
pub mod reference;
pub mod refusal;
pub mod registry;
pub mod report;
pub mod request;
pub mod right;
pub mod role;
pub mod routing;
pub mod salvage;
pub mod scope;
pub mod station;
pub mod storable;
pub mod subscription;
pub mod sync;
pub mod tally;
pub mod task;
pub mod template;
pub mod time;
pub mod token;
#[cfg(test)]
mod verdicts;
pub mod words;
pub mod workload;

use serde::Serialize;

pub use aggregate::{Aggregate, Event};
pub use ids::*;
pub use kinds::{Kind, Listed};
pub use refusal::{RefusalCode, RefusalKind, Refused};
pub use role::{AccountRole, Role, Roles};
pub use scope::Scope;
pub use time::Timestamp;

/// Names one stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub aggregate_type: &'static str,
    pub aggregate_id: String,
}

impl StreamId {
    pub fn of<A: Aggregate>(id: impl ToString) -> Self {
        Self { aggregate_type: A::TYPE, aggregate_id: id.to_string() }
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The administrator of the settings.
    Admin,
    Account(AccountRole, AccountId),
    Collector(CollectorId),
    Inspector(InspectorId),
    /// A program with an API key.
    Key(AccountRole, ApiKeyId),
    Device(DeviceId),
    Subscriber(String),
    /// A caller without a login, in `compat` mode or on a route that is open to all.
    Anonymous,
    /// A person with this program and the database.
    CommandLine,
    System,
}

impl Actor {
    pub fn role(&self) -> &'static str {
        match self {
            Actor::Admin => "admin",
            Actor::Account(role, _) | Actor::Key(role, _) => role.as_str(),
            Actor::Collector(_) => "data_collector",
            Actor::Inspector(_) => "data_inspector",
            Actor::Device(_) => "device",
            Actor::Subscriber(_) => "subscriber",
            Actor::Anonymous => "anonymous",
            Actor::CommandLine => "command_line",
            Actor::System => "system",
        }
    }

    /// As it stands in the metadata of events.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "user:admin" => Actor::Admin,
            "anonymous" => Actor::Anonymous,
            "command_line" => Actor::CommandLine,
            "system" => Actor::System,
            _ => match text.split_once(':')? {
                ("user", person) => match person.split_once(':')? {
                    ("collector", id) => Actor::Collector(CollectorId(id.parse().ok()?)),
                    ("inspector", id) => Actor::Inspector(InspectorId(id.parse().ok()?)),
                    (role, id) => Actor::Account(role.parse().ok()?, AccountId(id.parse().ok()?)),
                },
                ("key", program) => {
                    let (role, id) = program.split_once(':')?;
                    Actor::Key(role.parse().ok()?, ApiKeyId(id.parse().ok()?))
                }
                ("device", id) => Actor::Device(DeviceId::parse(id).ok()?),
                ("subscriber", name) => Actor::Subscriber(name.to_owned()),
                _ => return None,
            },
        })
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Actor::Admin => f.write_str("user:admin"),
            Actor::Account(role, id) => write!(f, "user:{}:{id}", role.as_str()),
            Actor::Key(role, id) => write!(f, "key:{}:{id}", role.as_str()),
            Actor::Collector(id) => write!(f, "user:collector:{id}"),
            Actor::Inspector(id) => write!(f, "user:inspector:{id}"),
            Actor::Device(id) => write!(f, "device:{id}"),
            Actor::Subscriber(name) => write!(f, "subscriber:{name}"),
            Actor::Anonymous => f.write_str("anonymous"),
            Actor::CommandLine => f.write_str("command_line"),
            Actor::System => f.write_str("system"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_read_as_it_is_written() {
        let device = Actor::Device(DeviceId::parse("AB-F0001-T0001-000001").unwrap());
        let subscriber = Actor::Subscriber("device_commands".into());
        let people = [Actor::Admin, Actor::Collector(CollectorId(17)), Actor::Inspector(InspectorId(3))];
        let accounts = AccountRole::ALL.iter().flat_map(|role| [Actor::Account(*role, AccountId(4)), Actor::Key(*role, ApiKeyId(5))]);
        let others = [device, subscriber, Actor::Anonymous, Actor::CommandLine, Actor::System];
        for actor in people.into_iter().chain(accounts).chain(others) {
            assert_eq!(Actor::parse(&actor.to_string()), Some(actor));
        }
        for text in ["user:collector:x", "user:data_collector:1", "user", "key:1", "key:admin:", ""] {
            assert_eq!(Actor::parse(text), None, "{text}");
        }
    }
}
