//! Signed tokens: logins, links to objects, links for viewers, and the cookie that opens streams. HS256, pinned; the
//! issuer and the kind are checked, so none of them works as another.

use std::time::Duration;

use axum::http::HeaderValue;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::identity::{Identity, Login};
use super::{Role, keys};
use crate::domain::{AccountId, AccountRole, CollectorId, FactoryId, InspectorId, SessionId, Timestamp};
use crate::http::problem::{Code, Problem};
use crate::projections::reads::credentials::Proof;

const LOGIN: &str = "login_v1";
const OBJECT: &str = "storage_object_v1";
const VIEWER: &str = "episode_viewer_v1";
const STREAM: &str = "stream_v1";

/// A token of another process, or of this one before its clock was set right, may come from a little in the future.
const AHEAD_MAX_S: i64 = 60;

/// What is signed besides the claims of each kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Frame<T> {
    kind: String,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(flatten)]
    claims: T,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LoginClaims {
    /// 0 for administrators and others of an account. Of an inspector, too: the role says whose number it is.
    collector_id: i64,
    operator_id: String,
    role: String,
    /// Of the account, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account_id: Option<i64>,
    /// The session. What a process signs for itself has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<i64>,
    /// Those that they saw when they signed in; missing: the whole site. For clients: what counts is what they see now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factories: Option<Vec<i64>>,
}

/// What a login is given with.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    pub session: Option<SessionId>,
    pub factories: Option<Vec<FactoryId>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectClaims {
    pub bucket: String,
    pub object: String,
}

/// One episode, and the role of who made the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewerClaims {
    pub episode_id: i64,
    pub role: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    Expired,
    Invalid,
}

#[derive(Clone)]
pub struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    issuer: String,
    login_lifetime: Duration,
    /// How long a link to an object works.
    link_lifetime: Duration,
}

impl Tokens {
    pub fn new(secret: &[u8], issuer: &str, login_lifetime: Duration, link_lifetime: Duration) -> Self {
        Self {
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
            issuer: issuer.to_owned(),
            login_lifetime,
            link_lifetime,
        }
    }

    pub fn login_lifetime(&self) -> Duration {
        self.login_lifetime
    }

    /// A login that this process gives without a session. An anonymous caller gets none.
    pub fn login(&self, identity: &Identity, now: Timestamp) -> Option<String> {
        self.granted(identity, &Granted::default(), now)
    }

    /// A login of a person who has signed in.
    pub fn granted(&self, identity: &Identity, granted: &Granted, now: Timestamp) -> Option<String> {
        self.sign_identity(LOGIN, identity, granted, now)
    }

    /// What opens streams, and nothing else, for as long as the login lasts.
    pub fn stream(&self, identity: &Identity, granted: &Granted, now: Timestamp) -> Option<String> {
        self.sign_identity(STREAM, identity, granted, now)
    }

    fn sign_identity(&self, kind: &str, identity: &Identity, granted: &Granted, now: Timestamp) -> Option<String> {
        let (collector_id, operator_id, account_id) = match identity {
            Identity::Admin => (0, String::new(), None),
            Identity::Account { id, .. } => (0, String::new(), Some(id.0)),
            Identity::Collector { id, operator_id } => (id.0, operator_id.clone(), None),
            Identity::Inspector { id, inspector_id } => (id.0, inspector_id.clone(), None),
            // A key is as good as a login, and needs none.
            Identity::Key { .. } | Identity::Display | Identity::Anonymous => return None,
        };
        let claims = LoginClaims {
            collector_id,
            operator_id,
            role: identity.role()?.as_str().to_owned(),
            account_id,
            sid: granted.session.map(|session| session.0),
            factories: granted.factories.as_ref().map(|factories| factories.iter().map(|id| id.0).collect()),
        };
        Some(self.sign(kind, claims, now, self.login_lifetime))
    }

    pub fn link(&self, claims: ObjectClaims, now: Timestamp) -> String {
        self.sign(OBJECT, claims, now, self.link_lifetime)
    }

    pub fn check_link(&self, token: &str, now: Timestamp) -> Result<ObjectClaims, TokenError> {
        self.check(OBJECT, token, now)
    }

    /// What opens one recording, for a viewer.
    pub fn viewer(&self, claims: ViewerClaims, now: Timestamp, lifetime: Duration) -> String {
        self.sign(VIEWER, claims, now, lifetime)
    }

    pub fn check_viewer(&self, token: &str, now: Timestamp) -> Result<ViewerClaims, TokenError> {
        self.check(VIEWER, token, now)
    }

    /// The login that an `Authorization` header carries.
    pub fn identify(&self, header: Option<&HeaderValue>, now: Timestamp) -> Result<Login, Problem> {
        let refuse = |detail: &str| Err(Problem::new(Code::Unauthenticated, detail));
        let Some(header) = header else { return refuse("a login is required") };
        let text = header.to_str().unwrap_or_default();
        let Some((_, token)) = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return refuse("the Authorization header must be `Bearer <token>`");
        };
        let token = token.trim();
        if token.starts_with(keys::KEY_PREFIX) {
            return keys::read(token).map_or_else(|| refuse("the API key is not valid"), Ok);
        }
        self.check_identity(LOGIN, token, now)
    }

    /// The login that opened the streams which a cookie is for.
    pub fn identify_stream(&self, token: &str, now: Timestamp) -> Result<Login, Problem> {
        self.check_identity(STREAM, token, now)
    }

    fn check_identity(&self, kind: &str, token: &str, now: Timestamp) -> Result<Login, Problem> {
        let refuse = |detail: &str| Err(Problem::new(Code::Unauthenticated, detail));
        let Frame { claims, iat: issued_at, .. } = match self.frame::<LoginClaims>(kind, token, now) {
            Ok(frame) => frame,
            Err(TokenError::Expired) => return refuse("the login has expired"),
            Err(TokenError::Invalid) => return refuse("the login token is not valid"),
        };
        let of_account = claims.role.parse::<AccountRole>().ok().zip(claims.account_id);
        let identity = match (claims.role.parse(), claims.collector_id, of_account) {
            (_, 0, Some((role, id))) => Identity::Account { role, id: AccountId(id) },
            (Ok(Role::Admin), 0, None) => Identity::Admin,
            (Ok(Role::DataCollector), id, None) if id > 0 => Identity::Collector { id: CollectorId(id), operator_id: claims.operator_id },
            (Ok(Role::DataInspector), id, None) if id > 0 => Identity::Inspector { id: InspectorId(id), inspector_id: claims.operator_id },
            _ => return refuse("the login token is not valid"),
        };
        Ok(Login { identity, proof: Some(Proof::Token { issued_at, session: claims.sid.map(SessionId) }) })
    }

    fn sign<T: Serialize>(&self, kind: &str, claims: T, now: Timestamp, lifetime: Duration) -> String {
        let iat = now.timestamp();
        let exp = iat.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
        let frame = Frame { kind: kind.to_owned(), iss: self.issuer.clone(), iat, nbf: iat, exp, claims };
        encode(&Header::new(Algorithm::HS256), &frame, &self.signing).expect("claims of ours are JSON, and the key fits HS256")
    }

    fn check<T: DeserializeOwned + Clone>(&self, kind: &str, token: &str, now: Timestamp) -> Result<T, TokenError> {
        self.frame(kind, token, now).map(|frame| frame.claims)
    }

    fn frame<T: DeserializeOwned + Clone>(&self, kind: &str, token: &str, now: Timestamp) -> Result<Frame<T>, TokenError> {
        let mut validation = Validation::new(Algorithm::HS256);
        // Times, issuer and kind are compared below, against the clock we were given.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let frame = decode::<Frame<T>>(token, &self.checking, &validation).map_err(|_| TokenError::Invalid)?.claims;
        let now = now.timestamp();
        if frame.kind != kind || frame.iss != self.issuer || frame.nbf > now.saturating_add(AHEAD_MAX_S) {
            return Err(TokenError::Invalid);
        }
        if frame.exp <= now { Err(TokenError::Expired) } else { Ok(frame) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: &str, issuer: &str) -> Tokens {
        Tokens::new(secret.as_bytes(), issuer, Duration::from_secs(3600), Duration::from_secs(900))
    }

    fn at(seconds: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    fn identify(tokens: &Tokens, header: &str, now: i64) -> Result<Identity, u16> {
        let header = HeaderValue::from_str(header).unwrap();
        tokens.identify(Some(&header), at(now)).map(|login| login.identity).map_err(|problem| problem.status().as_u16())
    }

    fn object() -> ObjectClaims {
        ObjectClaims { bucket: "edge-f".into(), object: "a/b.mcap".into() }
    }

    #[test]
    fn a_login_is_accepted_until_it_expires() {
        let tokens = tokens("secret", "k");
        let collector = Identity::Collector { id: CollectorId(7), operator_id: "op".into() };
        let login = tokens.login(&collector, at(0)).unwrap();
        assert_eq!(identify(&tokens, &format!("bearer {login}"), 3599), Ok(collector));
        assert_eq!(identify(&tokens, &format!("Bearer {login}"), 3600), Err(401));
        assert_eq!(identify(&tokens, &format!("Bearer {login}"), -61), Err(401));
    }

    #[test]
    fn a_login_of_an_account_says_its_session_and_what_it_sees() {
        let tokens = tokens("secret", "k");
        let manager = Identity::Account { role: AccountRole::ProductionManager, id: AccountId(4) };
        let granted = Granted { session: Some(SessionId(9)), factories: Some(vec![FactoryId(2)]) };
        let login = tokens.granted(&manager, &granted, at(0)).unwrap();
        let header = HeaderValue::from_str(&format!("Bearer {login}")).unwrap();
        let read = tokens.identify(Some(&header), at(1)).unwrap();
        assert_eq!((&read.identity, read.proof.and_then(|proof| proof.session())), (&manager, Some(SessionId(9))));
        let claims: LoginClaims = tokens.check(LOGIN, &login, at(1)).unwrap();
        assert_eq!((claims.role.as_str(), claims.collector_id, claims.factories), ("production_manager", 0, Some(vec![2])));
    }

    #[test]
    fn a_login_says_when_it_was_given_and_a_link_is_none() {
        let tokens = tokens("secret", "k");
        let (login, stream) =
            (tokens.login(&Identity::Admin, at(5)).unwrap(), tokens.stream(&Identity::Admin, &Granted::default(), at(6)).unwrap());
        let given = |issued_at| Some(Proof::Token { issued_at, session: None });
        let proof = |token: &str, now| {
            let header = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            tokens.identify(Some(&header), at(now)).ok().and_then(|login| login.proof)
        };
        let of_stream = tokens.identify_stream(&stream, at(7)).ok().and_then(|login| login.proof);
        assert_eq!((proof(&login, 7), of_stream), (given(1_790_000_005), given(1_790_000_006)));
        assert_eq!((proof(&tokens.link(object(), at(0)), 1), proof(&login, 5000)), (None, None));
    }

    #[test]
    fn a_token_of_a_process_whose_clock_is_ahead_is_accepted() {
        let tokens = tokens("secret", "k");
        let (login, stream) =
            (tokens.login(&Identity::Admin, at(2)).unwrap(), tokens.stream(&Identity::Admin, &Granted::default(), at(2)).unwrap());
        assert_eq!(identify(&tokens, &format!("Bearer {login}"), 0), Ok(Identity::Admin));
        assert_eq!(tokens.identify_stream(&stream, at(0)).ok().map(|login| login.identity), Some(Identity::Admin));
        assert_eq!(tokens.check_link(&tokens.link(object(), at(60)), at(0)), Ok(object()));
    }

    #[test]
    fn a_link_is_no_login_and_a_login_is_no_link() {
        let tokens = tokens("secret", "k");
        let link = tokens.link(object(), at(0));
        assert_eq!(identify(&tokens, &format!("Bearer {link}"), 1), Err(401));
        let login = tokens.login(&Identity::Admin, at(0)).unwrap();
        assert_eq!(tokens.check_link(&login, at(1)), Err(TokenError::Invalid));
        assert_eq!(tokens.check_link(&link, at(1)), Ok(object()));
        assert_eq!(tokens.check_link(&link, at(900)), Err(TokenError::Expired));
    }

    #[test]
    fn what_opens_a_recording_for_a_viewer_is_no_other_token_and_none_is_it() {
        let tokens = tokens("secret", "k");
        let claims = ViewerClaims { episode_id: 7, role: "admin".into() };
        let viewer = tokens.viewer(claims.clone(), at(0), Duration::from_secs(100));
        assert_eq!(tokens.check_viewer(&viewer, at(99)), Ok(claims));
        assert_eq!(tokens.check_viewer(&viewer, at(100)), Err(TokenError::Expired));
        assert_eq!(tokens.check_link(&viewer, at(1)), Err(TokenError::Invalid));
        assert_eq!(identify(&tokens, &format!("Bearer {viewer}"), 1), Err(401));
        let login = tokens.login(&Identity::Admin, at(0)).unwrap();
        for other in [tokens.link(object(), at(0)), tokens.stream(&Identity::Admin, &Granted::default(), at(0)).unwrap(), login] {
            assert_eq!(tokens.check_viewer(&other, at(1)), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn what_opens_a_stream_opens_nothing_else_and_nothing_else_opens_a_stream() {
        let tokens = tokens("secret", "k");
        let (login, stream) =
            (tokens.login(&Identity::Admin, at(0)).unwrap(), tokens.stream(&Identity::Admin, &Granted::default(), at(0)).unwrap());
        assert_eq!(identify(&tokens, &format!("Bearer {stream}"), 1), Err(401));
        let opened = |token: &str, now| tokens.identify_stream(token, at(now)).ok().map(|login| login.identity);
        assert_eq!((opened(&stream, 1), opened(&stream, 3600)), (Some(Identity::Admin), None));
        assert_eq!((opened(&login, 1), opened(&tokens.link(object(), at(0)), 1)), (None, None));
    }

    #[test]
    fn mn_19_another_secret_issuer_algorithm_or_scheme_is_refused() {
        let ours = tokens("secret", "k");
        let login = |tokens: &Tokens| tokens.login(&Identity::Admin, at(0)).unwrap();
        assert_eq!(identify(&ours, &format!("Bearer {}", login(&tokens("other", "k"))), 1), Err(401));
        assert_eq!(identify(&ours, &format!("Bearer {}", login(&tokens("secret", "other"))), 1), Err(401));
        assert_eq!(identify(&ours, &format!("Basic {}", login(&ours)), 1), Err(401));
        assert_eq!(identify(&ours, "Bearer", 1), Err(401));
        let frame = Frame { kind: LOGIN.into(), iss: "k".into(), iat: 0, nbf: 0, exp: i64::MAX, claims: object() };
        let hs512 = encode(&Header::new(Algorithm::HS512), &frame, &ours.signing).unwrap();
        assert_eq!(identify(&ours, &format!("Bearer {hs512}"), 1), Err(401));
    }

    #[test]
    fn a_role_that_does_not_fit_its_id_is_refused() {
        let tokens = tokens("secret", "k");
        for (role, collector_id) in [("admin", 7), ("data_collector", 0), ("data_inspector", 0), ("display", 0)] {
            let claims =
                LoginClaims { collector_id, operator_id: String::new(), role: role.into(), account_id: None, sid: None, factories: None };
            let token = tokens.sign(LOGIN, claims, at(0), Duration::from_secs(60));
            assert_eq!(identify(&tokens, &format!("Bearer {token}"), 1), Err(401), "{role} {collector_id}");
        }
    }
}
