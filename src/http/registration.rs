//! Robots that register themselves, the tokens that their programs connect with, and the keys that they upload with.
//!
//! `axon-config` registers without a login and takes nothing but 201 for success. It tries
//! again only where no answer came within ten seconds, so an answer that takes longer than
//! half of that is given up, and nothing of it stays.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::endpoints::Store;
use super::extract::{Json, PathId};
use super::fields::Name;
use super::host::{asked_host, host_of};
use super::intake::NAMES_BYTES_MAX;
use super::policy::{ADMINS, Key, Policy};
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::shown_once::secret_for;
use super::wire::WholeSecond;
use crate::commands::registration::{Credentials, RegisterDevice, RegisteredDevice, RotateToken, TokenHash};
use crate::domain::{DeviceId, RobotId};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::OPEN.keeping(Key::RefusalOnly).at_most(NAMES_BYTES_MAX), routes!(register))
        .at(Policy::MANAGE.closed().by(ADMINS).keeping(Key::RefusalOnly), routes!(rotate))
}

/// What a registration may take. The device waits twice as long.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);

/// The key of a registration that is sent again opens its token, so it must not be guessed: a UUID fits.
const KEY_CHARS_MIN: usize = 22;
/// A long one of the same few characters is guessed as well. A UUID by chance has more.
const KEY_DIFFERENT_CHARS_MIN: usize = 8;
/// A client that got no answer asks again soon.
const TOKEN_SHOWN_FOR: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

/// Every token of ours starts with it.
const TOKEN_PREFIX: &str = "kws_v1_";

/// The public half of every robot's key to the store starts with it, and has as many characters in all.
const STORE_KEY_PREFIX: &str = "KR";
const STORE_KEY_CHARS: usize = 20;

fn is_guessable(key: &str) -> bool {
    let different: BTreeSet<char> = key.chars().collect();
    key.len() < KEY_CHARS_MIN || different.len() < KEY_DIFFERENT_CHARS_MIN
}

fn new_token(state: &AppState, caller: &Caller) -> String {
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret_for(state, caller, "recorder token")))
}

/// The public half of the key that comes with a token. It follows from the token, so that a repeated request
/// gets both again, and nothing of the token follows from it.
fn store_key_of(token: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::new().chain_update("store key\0").chain_update(token).finalize();
    let letters = hash.iter().take(STORE_KEY_CHARS - STORE_KEY_PREFIX.len()).map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    STORE_KEY_PREFIX.chars().chain(letters).collect()
}

fn credentials_of(state: &AppState, token: &str) -> Credentials {
    Credentials { token: TokenHash::of(token), store_key: state.settings.store.secret_of.is_some().then(|| store_key_of(token)) }
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewDevice {
    /// The factory's name, exactly.
    factory: Name,
    /// The robot type's model, exactly.
    robot_type: Name,
}

/// A robot that exists now. Every value is text, because a device can render nothing else.
#[derive(Debug, Serialize, ToSchema)]
pub struct Registered {
    /// Under this its programs connect.
    device_id: String,
    /// The factory's name.
    factory: String,
    /// The factory's id.
    factory_id: String,
    /// The robot type's model.
    robot_type: String,
    /// The robot type's id.
    robot_type_id: String,
    /// The robot's id.
    robot_id: String,
    /// Shown here and never again.
    ws_client_auth_token: String,
    /// Where its recorder may post to.
    callback_allowlist: CallbackAllowlist,
    /// Where its programs connect.
    endpoints: DeviceEndpoints,
    /// Where and with what it uploads.
    #[serde(flatten)]
    store: StoreAccess,
}

/// Where and with what the device uploads. Names of its own, so that templates say `{{ store_access_key }}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoreAccess {
    /// Address of the object store.
    store_endpoint: String,
    /// The bucket.
    store_bucket: String,
    /// The region that requests are signed for.
    store_region: String,
    /// The robot's own: it opens nothing but the robot's own objects. Absent where the store is not ours to give keys of.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_access_key: Option<String>,
    /// Shown here and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_secret_key: Option<String>,
}

/// Where a recorder may post to.
#[derive(Debug, Serialize, ToSchema)]
pub struct CallbackAllowlist {
    /// Host and port.
    allowed_host: String,
    /// How paths begin.
    allowed_path_prefix: String,
}

/// Where the device's programs connect. The recorder uses its address as it is; the uploader appends the device id.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceEndpoints {
    /// This server.
    keystone_ws_url: String,
    /// The recorder's socket.
    recorder_rpc_url: String,
    /// The uploader's socket, without the device id.
    transfer_ws_url: String,
}

/// The authority of the address that recorders post to.
fn authority(state: &AppState) -> &str {
    let base = &state.settings.callback_base_url;
    base.split_once("://").map_or(base.as_str(), |(_, authority)| authority)
}

/// The host by which the device reaches us.
fn host<'a>(state: &'a AppState, headers: &'a HeaderMap) -> &'a str {
    asked_host(headers).and_then(host_of).or_else(|| host_of(authority(state))).unwrap_or(authority(state))
}

fn endpoints(state: &AppState, headers: &HeaderMap, device: &DeviceId, token: &str) -> DeviceEndpoints {
    let (host, endpoints) = (host(state, headers), &state.settings.endpoints);
    // An uploader cannot send a header; its token is part of the path.
    let transfer = endpoints.transfer.base(host);
    let transfer =
        if endpoints.transfer.token_required { format!("{transfer}/transfer/t/{token}") } else { format!("{transfer}/transfer") };
    DeviceEndpoints {
        keystone_ws_url: format!("ws://{}", asked_host(headers).unwrap_or(authority(state))),
        recorder_rpc_url: format!("{}/recorder/{device}", endpoints.recorder.base(host)),
        transfer_ws_url: transfer,
    }
}

fn store(state: &AppState, headers: &HeaderMap, token: &str) -> StoreAccess {
    let Store { public_url, port, region, secret_of } = &state.settings.store;
    let key = secret_of.as_ref().map(|secret_of| {
        let access_key = store_key_of(token);
        let secret = secret_of(&access_key);
        (access_key, secret)
    });
    let (store_access_key, store_secret_key) = key.unzip();
    StoreAccess {
        store_endpoint: public_url.clone().unwrap_or_else(|| format!("http://{}:{port}", host(state, headers))),
        store_bucket: state.settings.bucket.clone(),
        store_region: region.clone(),
        store_access_key,
        store_secret_key,
    }
}

fn answer(state: &AppState, headers: &HeaderMap, new: (String, String), made: &RegisteredDevice, token: String) -> Registered {
    let allowed_host = authority(state).to_owned();
    Registered {
        device_id: made.device_id.to_string(),
        factory: new.0,
        factory_id: made.factory_id.to_string(),
        robot_type: new.1,
        robot_type_id: made.robot_type_id.to_string(),
        robot_id: made.robot_id.to_string(),
        callback_allowlist: CallbackAllowlist { allowed_host, allowed_path_prefix: "/api/v1/callbacks/".to_owned() },
        endpoints: endpoints(state, headers, &made.device_id, &token),
        store: store(state, headers, &token),
        ws_client_auth_token: token,
    }
}

/// Register this robot: it gets its id, its token, its key to the object store, and the addresses to connect to. Each
/// success makes a new robot.
#[utoipa::path(post, path = "/api/v1/devices/register", tag = "devices", request_body = NewDevice, security(()), responses(
    (status = 201, body = Registered),
    (status = 400, description = "A field is missing"),
    (status = 404, description = "There is no such factory, or no such robot type"),
    (status = 409, description = "It was registered with this `Idempotency-Key` more than ten minutes ago"),
    (status = 429, description = "Too many registrations from this address; wait as `Retry-After` says"),
))]
pub async fn register(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    Json(new): Json<NewDevice>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    let (factory, robot_type) = (new.factory.0, new.robot_type.0);
    if let Err(wait_s) = state.registrations.attempt("", caller.address(), state.commands.now()) {
        return Err(
            Problem::new(Code::RegistrationThrottled, "too many registrations from this address; try again later").retry_after(wait_s)
        );
    }
    // A caller who knows the key of another's registration would be shown its token.
    if caller.idempotency().is_some_and(|key| is_guessable(&key.key)) {
        let text = format!(
            "the Idempotency-Key of a registration is a secret: {KEY_CHARS_MIN} characters or more by chance, and not always the same few"
        );
        return Err(Problem::new(Code::IdempotencyKeyInvalid, text));
    }
    let token = new_token(&state, &caller);
    let register = RegisterDevice { factory: factory.clone(), robot_type: robot_type.clone(), credentials: credentials_of(&state, &token) };
    let context = caller.context();
    let made = tokio::time::timeout(REGISTRATION_TIMEOUT, state.commands.execute(&context, register)).await;
    let made = made.map_err(|_| Problem::new(Code::RequestTimeout, "the registration took too long; try again").retry_after(1))??;
    if made.registered_at.is_none_or(|at| state.commands.now() - at > TOKEN_SHOWN_FOR) {
        let text = format!("{} was registered with this key some time ago, and its token was shown then; rotate it", made.device_id);
        return Err(Problem::new(Code::RegistrationAnswered, text).with("device_id", made.device_id.as_str()));
    }
    Ok((StatusCode::CREATED, Json(answer(&state, &headers, (factory, robot_type), &made, token))))
}

/// A token that replaced the one before it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rotated {
    /// The robot's device id.
    device_id: String,
    /// The robot's id.
    robot_id: String,
    /// Shown here and never again.
    ws_client_auth_token: String,
    /// From when the new one fits.
    rotated_at: WholeSecond,
    /// As in the answer to a registration: merged into the `device.json` of `axon-config`, this answer is all that it needs to
    /// render its files again.
    endpoints: DeviceEndpoints,
    /// Where and with what it uploads.
    #[serde(flatten)]
    store: StoreAccess,
}

/// Give a robot a new token and a new key to the object store. A connection that is open stays open; from its next
/// handshake on only the new token fits. The old key ends within seconds.
#[utoipa::path(post, path = "/api/v1/robots/{id}/ws-client-auth-token/rotate", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Rotated),
    (status = 400, description = "The id is none, or the robot is not active"),
    (status = 404, description = "There is no such robot"),
))]
pub async fn rotate(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Json<Rotated>, Problem> {
    let robot_id = RobotId(PathId(id).positive()?);
    let token = new_token(&state, &caller);
    let rotate = RotateToken { robot_id, credentials: credentials_of(&state, &token) };
    let rotated = state.commands.execute(&caller.context(), rotate).await?;
    Ok(Json(Rotated {
        device_id: rotated.device_id.to_string(),
        robot_id: robot_id.to_string(),
        rotated_at: rotated.rotated_at.into(),
        endpoints: endpoints(&state, &headers, &rotated.device_id, &token),
        store: store(&state, &headers, &token),
        ws_client_auth_token: token,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_to_the_store_follows_from_its_token_and_looks_like_one() {
        let (key, other) = (store_key_of("kws_v1_a"), store_key_of("kws_v1_b"));
        assert_eq!((key.len(), &key[..2]), (STORE_KEY_CHARS, STORE_KEY_PREFIX));
        assert_eq!(key, store_key_of("kws_v1_a"));
        assert_ne!(key, other);
        assert!(key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()), "{key}");
    }
}
