//! That a login began or ended, or got another password, as an answer carries it outward to where it is recorded: its route alone does not tell it.

use super::auth::Identity;
use crate::domain::access::{AccessKind, LoginMethod};
use crate::projections::reads::credentials::Subject;

/// On an answer by which a login began or ended, or got another password.
#[derive(Clone, Debug)]
pub struct Noted {
    pub kind: AccessKind,
    /// Whose login it is about.
    pub about: Subject,
    pub method: Option<LoginMethod>,
    /// Who did it, where that is not who asked: a login comes from nobody yet.
    pub who: Option<Identity>,
}

impl Noted {
    /// A person has signed in.
    pub fn login(who: Identity, about: Subject) -> Self {
        Self { kind: AccessKind::Login, about, method: Some(LoginMethod::Password), who: Some(who) }
    }

    /// A key was shown from an address for the first time.
    pub fn key(about: Subject) -> Self {
        Self { kind: AccessKind::Login, about, method: Some(LoginMethod::ApiKey), who: None }
    }

    /// Who asks has ended sessions of this person.
    pub fn session_end(about: Subject) -> Self {
        Self { kind: AccessKind::SessionEnd, about, method: None, who: None }
    }

    /// Who asks has another password from now on.
    pub fn password_change(about: Subject) -> Self {
        Self { kind: AccessKind::PasswordChange, about, method: None, who: None }
    }
}
