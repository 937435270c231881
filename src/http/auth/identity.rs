//! Who a request comes from.

pub use crate::domain::Role;
use crate::domain::{AccountId, AccountRole, Actor, ApiKeyId, CollectorId, InspectorId};
use crate::projections::reads::credentials::{Holder, Proof};

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The administrator of the settings.
    Admin,
    Account {
        role: AccountRole,
        id: AccountId,
    },
    Collector {
        id: CollectorId,
        operator_id: String,
    },
    Inspector {
        id: InspectorId,
        inspector_id: String,
    },
    /// A program.
    Key {
        role: AccountRole,
        id: ApiKeyId,
    },
    /// A screen on a wall, with the token of the settings.
    Display,
    /// A caller without a login.
    Anonymous,
}

/// Who a request says it comes from, and what proves it.
#[derive(Debug)]
pub struct Login {
    pub identity: Identity,
    /// None where nothing is to be asked of the database: of a display, and without a login.
    pub proof: Option<Proof>,
}

impl Login {
    pub const NONE: Self = Self { identity: Identity::Anonymous, proof: None };
}

impl Identity {
    /// One word for each who can ask.
    pub fn name(&self) -> String {
        match self.holder() {
            Some(holder) => holder.subject().name(),
            None if *self == Self::Display => "display".to_owned(),
            None => "anonymous".to_owned(),
        }
    }

    /// None without a login.
    pub fn role(&self) -> Option<Role> {
        match self {
            Identity::Admin => Some(Role::Admin),
            Identity::Account { role, .. } | Identity::Key { role, .. } => Some((*role).into()),
            Identity::Collector { .. } => Some(Role::DataCollector),
            Identity::Inspector { .. } => Some(Role::DataInspector),
            Identity::Display => Some(Role::Display),
            Identity::Anonymous => None,
        }
    }

    /// Whose account or key it is; none of a display, and without a login.
    pub fn holder(&self) -> Option<Holder> {
        Holder::of(&self.actor())
    }

    /// As events name them.
    pub fn actor(&self) -> Actor {
        match self {
            Identity::Admin => Actor::Admin,
            Identity::Account { role, id } => Actor::Account(*role, *id),
            Identity::Collector { id, .. } => Actor::Collector(*id),
            Identity::Inspector { id, .. } => Actor::Inspector(*id),
            Identity::Key { role, id } => Actor::Key(*role, *id),
            // The source address is all that is known. A display changes nothing.
            Identity::Display | Identity::Anonymous => Actor::Anonymous,
        }
    }
}
