//! Which part of a site a caller sees and changes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{FactoryId, OrganizationId};

/// A value of every query and of every command that a person asks for. What it does not contain is not there for the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    Everything,
    /// What belongs to one of these factories.
    Factories(BTreeSet<FactoryId>),
    /// What belongs to this organization of a factory, and what belongs to that factory as a whole.
    Organization(FactoryId, OrganizationId),
}

impl Scope {
    /// Whether it contains what belongs to a factory, and where it is so, to one of its organizations.
    pub fn contains(&self, factory: FactoryId, organization: Option<OrganizationId>) -> bool {
        match self {
            Self::Everything => true,
            Self::Factories(factories) => factories.contains(&factory),
            Self::Organization(of, only) => *of == factory && organization.is_none_or(|organization| organization == *only),
        }
    }

    /// The factories that it lies in, none of which is named where it is everything, and the organization where it is one.
    pub fn parts(&self) -> (Option<Vec<FactoryId>>, Option<OrganizationId>) {
        match self {
            Self::Everything => (None, None),
            Self::Factories(factories) => (Some(factories.iter().copied().collect()), None),
            Self::Organization(factory, organization) => (Some(vec![*factory]), Some(*organization)),
        }
    }

    /// Whether it contains all that another scope does.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) => true,
            (Self::Factories(factories), Self::Factories(others)) => others.is_subset(factories),
            (Self::Factories(factories), Self::Organization(factory, _)) => factories.contains(factory),
            (Self::Organization(..), Self::Organization(..)) => self == other,
            (Self::Factories(_) | Self::Organization(..), Self::Everything) | (Self::Organization(..), Self::Factories(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_contains_what_belongs_to_it_and_nothing_beside() {
        let (here, there) = (FactoryId(1), FactoryId(2));
        let (ours, theirs) = (Some(OrganizationId(7)), Some(OrganizationId(8)));
        let factory = Scope::Factories([here].into());
        let organization = Scope::Organization(here, OrganizationId(7));
        for (scope, place, contained) in [
            (&Scope::Everything, (there, theirs), true),
            (&factory, (here, theirs), true),
            (&factory, (here, None), true),
            (&factory, (there, None), false),
            (&Scope::Factories([].into()), (here, None), false),
            (&organization, (here, ours), true),
            (&organization, (here, None), true),
            (&organization, (here, theirs), false),
            (&organization, (there, None), false),
        ] {
            assert_eq!(scope.contains(place.0, place.1), contained, "{scope:?} {place:?}");
        }
    }

    #[test]
    fn a_scope_includes_what_is_no_wider() {
        let factories = |ids: &[i64]| Scope::Factories(ids.iter().copied().map(FactoryId).collect());
        let organization = |factory, id| Scope::Organization(FactoryId(factory), OrganizationId(id));
        for (scope, other, included) in [
            (Scope::Everything, Scope::Everything, true),
            (Scope::Everything, factories(&[1, 2]), true),
            (factories(&[1]), Scope::Everything, false),
            (factories(&[1]), factories(&[1]), true),
            (factories(&[1]), factories(&[1, 2]), false),
            (factories(&[1, 2]), factories(&[1]), true),
            (factories(&[1]), factories(&[2]), false),
            (factories(&[1]), organization(1, 7), true),
            (factories(&[2]), organization(1, 7), false),
            (organization(1, 7), factories(&[1]), false),
            (organization(1, 7), organization(1, 7), true),
            (organization(1, 7), organization(1, 8), false),
            (organization(1, 7), Scope::Everything, false),
        ] {
            assert_eq!(scope.includes(&other), included, "{scope:?} {other:?}");
        }
    }
}
