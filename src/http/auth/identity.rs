//! Who a request comes from, and what a login is for.

use crate::domain::right::scope_of;
use crate::domain::words::words;
use crate::domain::{Actor, CollectorId, InspectorId, Scope};

words! {
    /// What a login is for.
    Role {
        Admin = "admin",
        DataCollector = "data_collector",
        DataInspector = "data_inspector",
        /// A screen on a wall: it shows dashboards, and nothing else.
        Display = "display",
    }
}

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Admin,
    Collector {
        id: CollectorId,
        operator_id: String,
    },
    Inspector {
        id: InspectorId,
        inspector_id: String,
    },
    /// A screen on a wall, with the token of the settings.
    Display,
    /// A caller without a login.
    Anonymous,
}

/// Who a request comes from, and since when its login is good.
#[derive(Debug)]
pub struct Login {
    pub identity: Identity,
    /// When it was given, in seconds since 1970.
    pub issued_at: i64,
}

impl Login {
    pub const NONE: Self = Self { identity: Identity::Anonymous, issued_at: 0 };
}

impl Identity {
    /// One word for each who can ask.
    pub fn name(&self) -> String {
        match self {
            Identity::Admin => "admin".to_owned(),
            Identity::Collector { id, .. } => format!("collector:{id}"),
            Identity::Inspector { id, .. } => format!("inspector:{id}"),
            Identity::Display => "display".to_owned(),
            Identity::Anonymous => "anonymous".to_owned(),
        }
    }

    /// None without a login.
    pub fn role(&self) -> Option<Role> {
        match self {
            Identity::Admin => Some(Role::Admin),
            Identity::Collector { .. } => Some(Role::DataCollector),
            Identity::Inspector { .. } => Some(Role::DataInspector),
            Identity::Display => Some(Role::Display),
            Identity::Anonymous => None,
        }
    }

    /// As events name them.
    pub fn actor(&self) -> Actor {
        match self {
            Identity::Admin => Actor::Admin,
            Identity::Collector { id, .. } => Actor::Collector(*id),
            Identity::Inspector { id, .. } => Actor::Inspector(*id),
            // The source address is all that is known. A display changes nothing.
            Identity::Display | Identity::Anonymous => Actor::Anonymous,
        }
    }

    /// What they see and change.
    pub fn scope(&self) -> Scope {
        scope_of(&self.actor())
    }
}
