//! What all devices of a process share: their hub, their tasks, and how both end.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::effects::Effects;
use super::hub::Hub;
use super::{Keepalive, LinkSettings};
use crate::domain::device::LinkKind;

/// The device plane of a process: its routes, its hub, and its tasks. Cheap to clone.
#[derive(Clone)]
pub struct Devices(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub hub: Hub,
    pub effects: Arc<dyn Effects>,
    pub settings: Arc<LinkSettings>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub halt: CancellationToken,
}

impl Devices {
    pub fn new(effects: Arc<dyn Effects>, settings: LinkSettings) -> Self {
        Self(Arc::new(Inner {
            hub: Hub::new(),
            effects,
            settings: Arc::new(settings),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            halt: CancellationToken::new(),
        }))
    }

    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// Says goodbye to every device, waits until what they told is stored, and gives up on
    /// the rest after `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        self.0.stop.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(grace, self.0.tasks.wait()).await.is_err() {
            self.0.halt.cancel();
            self.0.tasks.wait().await;
        }
    }

    pub(super) fn keepalive(&self, kind: LinkKind) -> Keepalive {
        match kind {
            LinkKind::Recorder => self.0.settings.recorder,
            LinkKind::Transfer => self.0.settings.transfer,
        }
    }
}
