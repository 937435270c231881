//! From a handshake to a link, and to the end of the link.
//!
//! A request is dropped with its connection, and answered after a while whatever storage does. What was begun in
//! storage for it is not undone by that: an opening that was sent may be stored, and the device never hears of it. So
//! the opening is a task of its own. It goes on where its request has ended, and closes what no request waits for.
//!
//! The process has the device's link *in hand* from the first question to storage until the last report is stored. What
//! storage gives to this process and no task here has in hand is closed by `app::process`.

use std::sync::Arc;
use std::time::Duration;

use fastwebsockets::upgrade::UpgradeFut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::denied::Denied;
use super::effects::{EffectError, LinkId};
use super::hub::{Ask, Lane};
use super::link::{End, LinkLoop};
use super::plane::Devices;
use super::queue::{self, ReportQueue};
use super::recorder::session::RecorderSession;
use super::session::{Now, Session};
use super::transfer::session::TransferSession;
use crate::domain::DeviceId;
use crate::domain::device::LinkKind;
use crate::domain::report::Report;

/// Asks that wait for a session to look at them.
const ASKS_MAX: usize = 64;

/// A handshake whose upgrade does not come about within this is over.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// A handshake that may become a link.
pub struct Opening {
    pub devices: Devices,
    pub device: DeviceId,
    pub kind: LinkKind,
    /// None where none is required, else the one that was shown.
    pub token: Option<Option<String>>,
    pub remote: String,
    /// The program has left, or was refused because it took too long.
    pub gone: CancellationToken,
}

impl Opening {
    /// Ends with the link. The answer is for the request, which may be over by then.
    pub async fn run(self, upgraded: UpgradeFut, answer: oneshot::Sender<Result<(), Denied>>) {
        let inner = &self.devices.0;
        let proven = tokio::select! {
            proven = self.prove() => proven,
            // Nothing is written for that, and a caller without a token has nothing in hand.
            () = self.gone.cancelled() => Err(Denied::Superseded),
            () = inner.halt.cancelled() => Err(Denied::Stopping),
        };
        if let Err(denied) = proven {
            let _nobody_waits = answer.send(Err(denied));
            return;
        }
        let in_hand = inner.hub.take_in_hand(&self.device, self.kind);
        let opened = tokio::select! {
            opened = self.open() => opened,
            // Storage may hang. What it stores after all is closed by the process that comes next.
            () = inner.halt.cancelled() => Err(Denied::Stopping),
        };
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let entered = opened.and_then(|epoch| {
            let id = LinkId { device: self.device.clone(), kind: self.kind, epoch, remote: self.remote.clone() };
            inner.hub.enter(id, Now::read(), asks).map_err(|_| Denied::Superseded)
        });
        let lane = match entered {
            Ok(lane) => lane,
            Err(denied) => {
                let _nobody_waits = answer.send(Err(denied));
                return;
            }
        };
        let (reports, worker) = queue::report_queue(
            lane.id.clone(),
            inner.settings.reports_max,
            inner.effects.clone(),
            lane.replaced.clone(),
            inner.halt.clone(),
        );
        inner.tasks.spawn(async move {
            worker.run().await;
            drop(in_hand);
        });
        let _told_by_gone = answer.send(Ok(()));
        let socket = tokio::select! {
            biased;
            () = self.gone.cancelled() => None,
            () = inner.halt.cancelled() => None,
            upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, upgraded) => upgraded.ok().and_then(Result::ok),
        };
        match socket {
            Some(socket) => self.devices.serve(lane, asked, reports, socket.into_inner()).await,
            None => {
                inner.hub.leave(&lane);
                reports.push_last(Report::Closed { reason: "the device left during the handshake, or it took too long".to_owned() });
            }
        }
    }

    /// Whether the token that was shown is the device's, where one is required.
    async fn prove(&self) -> Result<(), Denied> {
        let Some(shown) = &self.token else { return Ok(()) };
        let Some(token) = shown else { return Err(Denied::Unauthorized) };
        match self.devices.0.effects.opens(&self.device, self.kind, token).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Denied::Unauthorized),
            Err(error) => Err(Denied::Unavailable(error.to_string())),
        }
    }

    /// Makes the connection the current one, and answers with its epoch.
    async fn open(&self) -> Result<i64, Denied> {
        let (inner, kind) = (&self.devices.0, self.kind);
        // After the token: what strangers try does not count against the device.
        let now = Now::read().at;
        if !inner.hub.may_connect(&self.device, kind, inner.settings.handshakes, now) || !inner.hub.may_open(&self.device, kind, now) {
            return Err(Denied::TooOften);
        }
        let opened = inner.effects.open_link(&self.device, kind, &self.remote, &self.gone).await;
        if opened.is_ok() {
            inner.hub.count_opening(&self.device, kind, inner.settings.openings, Now::read().at);
        }
        opened.map_err(|error| match error {
            EffectError::NotFound(_) => Denied::Unknown,
            EffectError::Contested(_) => Denied::TwoPrograms,
            other => Denied::Unavailable(other.to_string()),
        })
    }
}

impl Devices {
    /// Talks with the device until the link ends.
    async fn serve(
        &self,
        lane: Arc<Lane>,
        asked: mpsc::Receiver<Ask>,
        reports: ReportQueue,
        socket: impl AsyncRead + AsyncWrite + Send + 'static,
    ) {
        let LinkId { device, kind, epoch, remote } = lane.id.clone();
        let kind_name = kind.as_str();
        info!(device.id = %device, link.kind = kind_name, link.epoch = epoch, remote, "Connected {kind_name} of `{device}`");
        metrics::gauge!(crate::telemetry::DEVICE_LINKS, "kind" => kind_name).increment(1);
        let End { cause, reason, .. } = match kind {
            LinkKind::Recorder => self.talk(RecorderSession::new(Now::read()), lane, asked, reports, socket).await,
            LinkKind::Transfer => self.talk(TransferSession::new(device.clone()), lane, asked, reports, socket).await,
        };
        metrics::gauge!(crate::telemetry::DEVICE_LINKS, "kind" => kind_name).decrement(1);
        metrics::counter!(crate::telemetry::DEVICE_LINKS_ENDED, "kind" => kind_name, "cause" => cause.as_str()).increment(1);
        info!(device.id = %device, link.kind = kind_name, link.epoch = epoch, reason, "Lost {kind_name} of `{device}`: {reason}");
    }

    async fn talk<S: Session>(
        &self,
        session: S,
        lane: Arc<Lane>,
        asks: mpsc::Receiver<Ask>,
        reports: ReportQueue,
        io: impl AsyncRead + AsyncWrite + Send + 'static,
    ) -> End {
        let keepalive = self.keepalive(lane.id.kind);
        let (hub, settings, stop) = (self.0.hub.clone(), self.0.settings.clone(), self.0.stop.clone());
        LinkLoop { session, lane, hub, asks, reports, keepalive, settings, stop }.run(io).await
    }
}
