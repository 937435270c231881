//! Whom rows belong to: the one place where a caller's scope becomes SQL.

use tokio_postgres::types::ToSql;

use crate::domain::Scope;

/// Where a row says whom it belongs to, as SQL over it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home {
    /// To no factory: every caller sees it.
    Site,
    Factory(&'static str),
    Organization {
        factory: &'static str,
        organization: &'static str,
    },
    /// To those whose scope includes this one: its factories, null for the whole site, and its organization where it is one.
    Scope {
        factories: &'static str,
        organization: &'static str,
    },
}

/// How what a row says is held against the caller's factories.
enum Compared {
    /// It is one of them.
    Any,
    /// It is several, all of which are theirs.
    All,
}

/// A further condition, and the values of its parameters. Both are empty where the scope is everything.
#[derive(Default)]
pub(super) struct Within {
    pub sql: String,
    pub values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Home {
    /// What a scope adds to a statement that has so many parameters.
    pub fn within(self, scope: &Scope, parameters: usize) -> Within {
        let (factory, compared, own) = match self {
            Self::Site => return Within::default(),
            Self::Factory(factory) => (factory, Compared::Any, None),
            Self::Organization { factory, organization } => (factory, Compared::Any, Some(organization)),
            Self::Scope { factories, organization } => (factories, Compared::All, Some(organization)),
        };
        let (factories, organization) = match scope {
            Scope::Everything => return Within::default(),
            Scope::Factories(factories) => (factories.iter().map(|id| id.0).collect(), None),
            Scope::Organization(factory, organization) => (vec![factory.0], own.map(|own| (own, organization.0))),
        };
        let sql = match compared {
            Compared::Any => format!(" and {factory} = any (${}::bigint[])", parameters + 1),
            Compared::All => format!(" and {factory} <@ ${}::bigint[]", parameters + 1),
        };
        let mut within = Within { sql, values: vec![Box::new(factories)] };
        if let Some((own, id)) = organization {
            within.sql += &format!(" and {own} = ${}::bigint", parameters + 2);
            within.values.push(Box::new(id));
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FactoryId, OrganizationId};

    #[test]
    fn a_scope_that_is_everything_adds_nothing() {
        let home = Home::Organization { factory: "f", organization: "o" };
        let sql = |home: Home, scope| {
            let within = home.within(&scope, 3);
            assert_eq!(within.sql.matches('$').count(), within.values.len());
            within.sql
        };
        assert_eq!(sql(home, Scope::Everything), "");
        assert_eq!(sql(home, Scope::Factories([FactoryId(1)].into())), " and f = any ($4::bigint[])");
        let organization = Scope::Organization(FactoryId(1), OrganizationId(2));
        assert_eq!(sql(home, organization.clone()), " and f = any ($4::bigint[]) and o = $5::bigint");
        assert_eq!(sql(Home::Factory("f"), organization.clone()), " and f = any ($4::bigint[])");
        let begun = Home::Scope { factories: "f", organization: "o" };
        assert_eq!(sql(begun, Scope::Factories([FactoryId(1)].into())), " and f <@ $4::bigint[]");
        assert_eq!(sql(begun, organization.clone()), " and f <@ $4::bigint[] and o = $5::bigint");
        assert_eq!(sql(Home::Site, organization), "");
    }
}
