//! The right with which a request came, looked at again while its answer lasts.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};

use super::{Identity, admitted, standing};
use crate::domain::Scope;
use crate::http::AppState;
use crate::http::policy::Policy;
use crate::http::problem::{Code, Problem};

/// Who asked, and with what.
pub struct Right {
    state: AppState,
    policy: Policy,
    headers: HeaderMap,
    uri: Uri,
    identity: Identity,
    scope: Scope,
}

impl Right {
    /// Whether the same request would be let in now.
    pub async fn holds(&self) -> bool {
        let Ok(login) = admitted(&self.state, &self.policy, &self.headers, &self.uri) else { return false };
        if login.identity != self.identity {
            return false;
        }
        match standing(&self.state, &login.identity, login.proof.as_ref()).await {
            // What is told was chosen by what the caller saw then.
            Ok(scope) => scope.as_ref() == Some(&self.scope),
            // Where the database does not answer, nothing was taken away that is known.
            Err(_) => true,
        }
    }
}

impl FromRequestParts<AppState> for Right {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        // All of them are put there before any handler runs.
        let (policy, identity) = (parts.extensions.get::<Policy>().copied(), parts.extensions.get::<Identity>().cloned());
        let (Some(policy), Some(identity), Some(scope)) = (policy, identity, parts.extensions.get::<Scope>().cloned()) else {
            return Err(Problem::new(Code::Unauthenticated, "a login is required"));
        };
        Ok(Self { state: state.clone(), policy, headers: parts.headers.clone(), uri: parts.uri.clone(), identity, scope })
    }
}
