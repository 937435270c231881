//! Refused handshakes.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::{info, warn};

use crate::domain::device::LinkKind;

/// Why a handshake is refused.
#[derive(Debug)]
pub enum Denied {
    InvalidId,
    NoHandshake,
    ForeignOrigin,
    Unauthorized,
    Unknown,
    TooManyLinks,
    TooOften,
    /// Another program has the device's connection, and the two have been taking it from each other.
    TwoPrograms,
    Stopping,
    Unavailable(String),
    /// A connection that began later was quicker; it has closed this one in storage, too.
    Superseded,
}

impl Denied {
    /// One word for each: in the answer, and counted.
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidId => "invalid_device_id",
            Self::NoHandshake => "no_handshake",
            Self::ForeignOrigin => "foreign_origin",
            Self::Unauthorized => "unauthorized",
            Self::Unknown => "unknown_device",
            Self::TooManyLinks => "too_many_links",
            Self::TooOften => "too_often",
            Self::TwoPrograms => "two_programs",
            Self::Stopping => "stopping",
            Self::Unavailable(_) => "storage_unavailable",
            Self::Superseded => "superseded",
        }
    }

    /// What the refused are told. Devices look at nothing of it.
    pub fn answer(&self, kind: LinkKind, device: &str, remote: &str) -> Response {
        let (kind, code) = (kind.as_str(), self.code());
        metrics::counter!(crate::telemetry::DEVICE_HANDSHAKES_REFUSED, "kind" => kind, "cause" => code).increment(1);
        match self {
            // The device's name may be anything here.
            Self::InvalidId | Self::NoHandshake => info!(link.kind = kind, remote, cause = code, "Refused a handshake: {code}"),
            // The one warning about two programs is given where the first of them is refused.
            Self::ForeignOrigin | Self::Unauthorized | Self::Unknown | Self::TwoPrograms | Self::Stopping | Self::Superseded => {
                info!(device.id = device, link.kind = kind, remote, cause = code, "Refused `{device}`: {code}");
            }
            Self::TooManyLinks | Self::TooOften => {
                warn!(device.id = device, link.kind = kind, remote, cause = code, "Refused `{device}`: {code}");
            }
            Self::Unavailable(reason) => {
                warn!(device.id = device, link.kind = kind, remote, cause = code, reason, "Refused `{device}`: {reason}");
            }
        }
        match self {
            Self::InvalidId | Self::NoHandshake => StatusCode::BAD_REQUEST.into_response(),
            Self::ForeignOrigin => StatusCode::FORBIDDEN.into_response(),
            Self::Unknown => StatusCode::NOT_FOUND.into_response(),
            Self::Unauthorized => {
                let body = axum::Json(json!({ "error": "unauthorized" }));
                (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
            }
            Self::TooManyLinks | Self::TooOften | Self::TwoPrograms | Self::Stopping | Self::Unavailable(_) | Self::Superseded => {
                (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({ "error": "service unavailable", "code": code }))).into_response()
            }
        }
    }
}
