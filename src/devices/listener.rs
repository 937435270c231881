//! Where devices connect.
//!
//! A handshake is refused before it costs anything: the id is checked, then the token, and
//! only then is the connection made the current one, which is left to [`Opening`]. Devices treat
//! every refusal alike and come back with a growing delay, so the status is for people who look.
//!
//! | | |
//! |---|---|
//! | 400 | the device id cannot be one, or the request is no WebSocket handshake |
//! | 401 | a token is required and this one does not open this device |
//! | 403 | a page of another origin asks, in a browser |
//! | 404 | no robot has this device id |
//! | 503 | storage cannot be asked, there are too many links, the device comes too often, or another program has its link |
//!
//! A recorder sends its token as a header. An uploader cannot send headers, so its token is
//! part of the path: `/transfer/t/<token>/<device_id>`. Paths of these routes are therefore
//! never logged.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::denied::Denied;
use super::opening::Opening;
use super::plane::Devices;
use crate::domain::DeviceId;
use crate::domain::device::LinkKind;
use crate::listener::ForeignOrigin;

/// Routes of one listener; each knows whether it is reached from other machines.
#[derive(Clone)]
struct Gate {
    devices: Devices,
    token_required: bool,
}

impl Devices {
    pub fn recorder_routes(&self, token_required: bool) -> Router {
        Router::new()
            .route("/recorder/", get(|| async { StatusCode::BAD_REQUEST }))
            .route("/recorder/{*device_id}", get(recorder))
            .with_state(Gate { devices: self.clone(), token_required })
    }

    pub fn transfer_routes(&self, token_required: bool) -> Router {
        Router::new()
            .route("/transfer/", get(|| async { StatusCode::BAD_REQUEST }))
            .route("/transfer/{*device_id}", get(transfer))
            .with_state(Gate { devices: self.clone(), token_required })
    }

    /// Both, for the main port.
    pub fn routes(&self, token_required: bool) -> Router {
        self.recorder_routes(token_required).merge(self.transfer_routes(token_required))
    }
}

async fn recorder(State(gate): State<Gate>, Path(device_id): Path<String>, request: Request) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    // Exactly two words, and the first in this case: that is all a recorder ever sends.
    let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).filter(|token| !token.contains(' ')).map(str::to_owned);
    connect(gate, LinkKind::Recorder, &device_id, token, request).await
}

async fn transfer(State(gate): State<Gate>, Path(rest): Path<String>, request: Request) -> Response {
    let (token, device_id) = match rest.strip_prefix("t/").and_then(|rest| rest.split_once('/')) {
        Some((token, device_id)) => (Some(token.to_owned()), device_id),
        None => (None, rest.as_str()),
    };
    connect(gate, LinkKind::Transfer, device_id, token, request).await
}

async fn connect(
    Gate { devices, token_required }: Gate,
    kind: LinkKind,
    device_id: &str,
    token: Option<String>,
    mut request: Request,
) -> Response {
    let remote = request.extensions().get::<ConnectInfo<SocketAddr>>().map_or_else(String::new, |ConnectInfo(peer)| peer.to_string());
    let refuse = |denied: Denied| denied.answer(kind, device_id, &remote);
    let Ok(device) = DeviceId::parse(device_id) else { return refuse(Denied::InvalidId) };
    let Ok((handshake, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else { return refuse(Denied::NoHandshake) };
    if request.extensions().get::<ForeignOrigin>().is_some() {
        return refuse(Denied::ForeignOrigin);
    }
    let inner = &devices.0;
    if inner.stop.is_cancelled() {
        return refuse(Denied::Stopping);
    }
    // A device that comes back replaces a link, and adds none.
    if inner.hub.link_count() >= inner.settings.links_max && !inner.hub.has(&device, kind) {
        return refuse(Denied::TooManyLinks);
    }

    let (answer, answered) = oneshot::channel();
    let asker = CancellationToken::new();
    let (gone, leaves) = (asker.clone(), asker.drop_guard());
    let token = token_required.then_some(token);
    let opening = Opening { devices: devices.clone(), device, kind, token, remote: remote.clone(), gone };
    inner.tasks.spawn(opening.run(upgraded, answer));
    match tokio::time::timeout(inner.settings.handshake_timeout, answered).await {
        Ok(Ok(Ok(()))) => {
            leaves.disarm();
            handshake.map(Body::new).into_response()
        }
        Ok(Ok(Err(denied))) => refuse(denied),
        Ok(Err(_)) => refuse(Denied::Unavailable("the handshake broke off".to_owned())),
        Err(_) => refuse(Denied::Unavailable("storage did not answer in time".to_owned())),
    }
}
