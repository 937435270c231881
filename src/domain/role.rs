//! What a person or a program may do: one role each.

use super::words::words;

words! {
    /// What a login is for.
    Role {
        Admin = "admin",
        /// Orders, batches, the registry, and what becomes of episodes.
        ProductionManager = "production_manager",
        DataCollector = "data_collector",
        DataInspector = "data_inspector",
        /// Reads everything, and changes nothing.
        Auditor = "auditor",
        /// A screen on a wall: it shows dashboards, and nothing else.
        Display = "display",
    }
    /// What an account or an API key can be for. Data collectors and inspectors are people of an organization, with accounts of their own kind.
    AccountRole {
        Admin = "admin",
        ProductionManager = "production_manager",
        Auditor = "auditor",
        Display = "display",
    }
}

impl From<AccountRole> for Role {
    fn from(role: AccountRole) -> Self {
        match role {
            AccountRole::Admin => Self::Admin,
            AccountRole::ProductionManager => Self::ProductionManager,
            AccountRole::Auditor => Self::Auditor,
            AccountRole::Display => Self::Display,
        }
    }
}

/// Some of the roles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    pub const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < roles.len() {
            bits |= 1 << roles[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    pub const fn contains(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | 1 << role as u8)
    }

    pub const fn without(self, role: Role) -> Self {
        Self(self.0 & !(1 << role as u8))
    }

    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.iter().copied().filter(move |role| self.contains(*role))
    }
}

impl std::fmt::Debug for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_roles_that_were_put_into_it() {
        let some = Roles::of(&[Role::Admin, Role::Auditor]).with(Role::Display).without(Role::Admin);
        assert_eq!(some.iter().collect::<Vec<_>>(), [Role::Auditor, Role::Display]);
        assert_eq!(Roles::of(Role::ALL).iter().count(), Role::ALL.len());
    }

    #[test]
    fn the_role_of_an_account_is_called_as_it_is_among_all() {
        for role in AccountRole::ALL {
            assert_eq!(Role::from(*role).as_str(), role.as_str());
        }
    }
}
