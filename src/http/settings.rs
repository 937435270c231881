//! What the edge has to be told.

use std::path::PathBuf;
use std::time::Duration;

use super::endpoints::{Endpoints, Store};
use super::limits::RequestLimits;
use super::live::StreamLimits;
use crate::commands::inspection::InspectionTerms;
use crate::commands::outside_jobs::OutsideLease;
use crate::domain::sync::CloudName;

/// Whether routes that older deployments left open ask for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    Strict,
    Compat,
}

pub struct EdgeSettings {
    pub auth_mode: AuthMode,
    pub jwt_secret: Vec<u8>,
    pub jwt_issuer: String,
    pub jwt_lifetime: Duration,
    /// Of links that work without a login.
    pub link_lifetime: Duration,
    /// Of links for viewers.
    pub viewer_lifetime: Duration,
    /// The Lichtblick of the site; no slash at the end.
    pub lichtblick_url: Option<String>,
    pub admin_username: String,
    /// What displays of dashboards show; none where there are no displays.
    pub display_token: Option<String>,
    /// Whether a callback without its token is believed from where the recorder of its robot connects from.
    pub callbacks_of_known_devices: bool,
    /// Start of the links that recorders post to; no slash at the end.
    pub callback_base_url: String,
    /// The one bucket whose objects are served.
    pub bucket: String,
    pub body_bytes_max: usize,
    pub request_timeout: Duration,
    /// What a body may take to arrive, before that.
    pub read_timeout: Duration,
    pub device_response_timeout: Duration,
    /// How long a look at the objects of an episode may take.
    pub qa_timeout: Duration,
    /// How inspectors decide.
    pub inspection: InspectionTerms,
    /// How checkers elsewhere work.
    pub outside: OutsideLease,
    /// The same where the recorder closes a file first.
    pub device_finish_timeout: Duration,
    pub endpoints: Endpoints,
    pub store: Store,
    /// Secrets of this server that no template may hold, for templates are served to anybody.
    pub secrets: Vec<String>,
    /// From one address.
    pub registrations_per_minute: u32,
    pub requests: RequestLimits,
    /// Of one caller, that are recorded.
    pub refusals_per_minute_max: u32,
    pub sync: SyncSettings,
    pub streams: StreamLimits,
}

/// How episodes get to the cloud.
#[derive(Clone, Debug, Default)]
pub struct SyncSettings {
    /// None: they do not.
    pub clouds: Vec<CloudName>,
    /// Where the configuration of the data platform lies; none where recordings go to no gateway.
    pub platform: Option<PathBuf>,
    /// Whether what is approved is pushed by itself, where nobody has switched it.
    pub auto_scan: bool,
    pub max_retries: Option<u32>,
    pub deadline: Option<Duration>,
    /// Recordings on their way to one cloud at the same time.
    pub at_once: usize,
    /// Between two looks at what is queued, where nothing tells of it.
    pub looked_at_every: Duration,
}
