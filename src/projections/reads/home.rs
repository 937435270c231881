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

/// A further condition, and the values of its parameters. Both are empty where the scope is everything.
#[derive(Default)]
pub(super) struct Within {
    pub sql: String,
    pub values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Home {
    /// What a scope adds to a statement that has so many parameters.
    pub fn within(self, scope: &Scope, parameters: usize) -> Within {
        let one_of = |factory| format!(" and {factory} = any (${}::bigint[])", parameters + 1);
        let (sql, own) = match self {
            Self::Site => return Within::default(),
            Self::Factory(factory) => (one_of(factory), None),
            Self::Organization { factory, organization } => (one_of(factory), Some(organization)),
            Self::Scope { factories, organization } => (format!(" and {factories} <@ ${}::bigint[]", parameters + 1), Some(organization)),
        };
        let (Some(factories), organization) = scope.parts() else { return Within::default() };
        let factories: Vec<i64> = factories.iter().map(|id| id.0).collect();
        let mut within = Within { sql, values: vec![Box::new(factories)] };
        if let (Some(own), Some(id)) = (own, organization) {
            within.sql += &format!(" and {own} = ${}::bigint", parameters + 2);
            within.values.push(Box::new(id.0));
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
