//! Robots that register themselves, and the tokens that their programs connect with.
//!
//! `axon-config` registers without a login and takes nothing but 201 for success. It tries
//! again only where no answer came within ten seconds, so an answer that takes longer than
//! half of that is given up, and nothing of it stays.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, NAME, PathId, required};
use super::problem::{Code, Problem};
use super::wire::Instant;
use crate::commands::registration::{RegisterDevice, RegisteredDevice, RotateToken, TokenHash};
use crate::domain::{DeviceId, RobotId};

/// What a registration may take. The device waits twice as long.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Every token of ours starts with it.
const TOKEN_PREFIX: &str = "kws_v1_";

/// Where the sockets are, as devices are told.
#[derive(Clone, Debug)]
pub struct Endpoints {
    pub recorder: Endpoint,
    pub transfer: Endpoint,
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `ws://host:port`; where it is not set, the host that the device registered at, with the port.
    pub public_url: Option<String>,
    pub port: u16,
    pub token_required: bool,
}

impl Endpoint {
    fn base(&self, host: &str) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("ws://{host}:{}", self.port))
    }
}

/// A token is shown once. Where the same request comes again with its `Idempotency-Key`, it has to get the same
/// token, and none is kept: so it is derived from the key, by a secret that only we have.
fn new_token(state: &AppState, caller: &Caller) -> String {
    let bytes: [u8; 32] = match caller.idempotency() {
        None => rand::random(),
        Some(key) => {
            let mut mac = Hmac::<Sha256>::new_from_slice(&state.settings.jwt_secret).expect("a key of any length");
            for part in ["recorder token", &key.scope, &key.key] {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part.as_bytes());
            }
            mac.update(&key.fingerprint);
            mac.finalize().into_bytes().into()
        }
    };
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a token.
pub fn hash_of(token: &str) -> TokenHash {
    TokenHash(hex::encode(Sha256::digest(token)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewDevice {
    /// The factory's name, exactly.
    factory: Option<String>,
    /// The robot type's model, exactly.
    robot_type: Option<String>,
}

/// A robot that exists now. Every value is text, because a device can render nothing else.
#[derive(Debug, Serialize, ToSchema)]
pub struct Registered {
    device_id: String,
    factory: String,
    factory_id: String,
    robot_type: String,
    robot_type_id: String,
    robot_id: String,
    /// Shown here and never again.
    ws_client_auth_token: String,
    callback_allowlist: CallbackAllowlist,
    endpoints: DeviceEndpoints,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CallbackAllowlist {
    allowed_host: String,
    allowed_path_prefix: String,
}

/// Where the device's programs connect. The recorder uses its address as it is; the uploader appends the device id.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceEndpoints {
    keystone_ws_url: String,
    recorder_rpc_url: String,
    transfer_ws_url: String,
}

/// `host` of `host:port`, where it can be one.
fn host_of(authority: &str) -> Option<&str> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.len() <= 253 && host.chars().all(plain),
    };
    fits.then_some(host)
}

fn answer(state: &AppState, headers: &HeaderMap, new: (String, String), made: &RegisteredDevice, token: String) -> Registered {
    let base = &state.settings.callback_base_url;
    let authority = base.split_once("://").map_or(base.as_str(), |(_, authority)| authority);
    let asked = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = asked.and_then(host_of).or_else(|| host_of(authority)).unwrap_or(authority);
    let endpoints = &state.settings.endpoints;
    let device: &DeviceId = &made.device_id;
    // An uploader cannot send a header; its token is part of the path.
    let transfer = endpoints.transfer.base(host);
    let transfer =
        if endpoints.transfer.token_required { format!("{transfer}/transfer/t/{token}") } else { format!("{transfer}/transfer") };
    let endpoints = DeviceEndpoints {
        keystone_ws_url: format!("ws://{}", asked.filter(|asked| host_of(asked).is_some()).unwrap_or(authority)),
        recorder_rpc_url: format!("{}/recorder/{device}", endpoints.recorder.base(host)),
        transfer_ws_url: transfer,
    };
    Registered {
        device_id: device.to_string(),
        factory: new.0,
        factory_id: made.factory_id.to_string(),
        robot_type: new.1,
        robot_type_id: made.robot_type_id.to_string(),
        robot_id: made.robot_id.to_string(),
        ws_client_auth_token: token,
        callback_allowlist: CallbackAllowlist { allowed_host: authority.to_owned(), allowed_path_prefix: "/api/v1/callbacks/".to_owned() },
        endpoints,
    }
}

/// Register this robot: it gets its id, its token, and the addresses to connect to. Each success makes a new robot.
#[utoipa::path(post, path = "/api/v1/devices/register", tag = "devices", request_body = NewDevice, security(()), responses(
    (status = 201, body = Registered),
    (status = 400, description = "A field is missing"),
    (status = 404, description = "There is no such factory, or no such robot type"),
    (status = 429, description = "Too many registrations from this address; wait as `Retry-After` says"),
))]
pub async fn register(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    Json(new): Json<NewDevice>,
) -> Result<(StatusCode, Answer<Registered>), Problem> {
    let factory = required("factory", new.factory, NAME)?;
    let robot_type = required("robot_type", new.robot_type, NAME)?;
    if let Err(wait_s) = state.registrations.attempt("", caller.address(), state.commands.now()) {
        return Err(
            Problem::new(Code::RegistrationThrottled, "too many registrations from this address; try again later").retry_after(wait_s)
        );
    }
    let token = new_token(&state, &caller);
    let register = RegisterDevice { factory: factory.clone(), robot_type: robot_type.clone(), token: hash_of(&token) };
    let context = caller.context();
    let made = tokio::time::timeout(REGISTRATION_TIMEOUT, state.commands.execute(&context, register)).await;
    let made = made.map_err(|_| Problem::new(Code::RequestTimeout, "the registration took too long; try again").retry_after(1))??;
    Ok((StatusCode::CREATED, Answer(answer(&state, &headers, (factory, robot_type), &made, token))))
}

/// A token that replaced the one before it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rotated {
    device_id: String,
    robot_id: String,
    /// Shown here and never again.
    ws_client_auth_token: String,
    rotated_at: Instant,
}

/// Give a robot a new token. A connection that is open stays open; from its next handshake on only the new token fits.
#[utoipa::path(post, path = "/api/v1/robots/{id}/ws-client-auth-token/rotate", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Rotated),
    (status = 400, description = "The id is none, or the robot is not active"),
    (status = 404, description = "There is no such robot"),
))]
pub async fn rotate(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Answer<Rotated>, Problem> {
    caller.must_manage()?;
    let robot_id = RobotId(PathId(id).positive()?);
    let token = new_token(&state, &caller);
    let rotated = state.commands.execute(&caller.context(), RotateToken { robot_id, token: hash_of(&token) }).await?;
    Ok(Answer(Rotated {
        device_id: rotated.device_id.to_string(),
        robot_id: robot_id.to_string(),
        ws_client_auth_token: token,
        rotated_at: rotated.rotated_at.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_taken_from_a_header_only_where_it_can_be_one() {
        for (authority, host) in [
            ("edge.factory:8080", Some("edge.factory")),
            ("10.0.0.7", Some("10.0.0.7")),
            ("[::1]:8080", Some("[::1]")),
            ("edge/../x", None),
            ("a b", None),
            ("", None),
            (":8080", None),
            ("edge\"", None),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }
}
