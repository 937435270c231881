//! The data gateway: gRPC services that know devices (`auth`, `devices`) and where their recordings go (`service`, `uploads`),
//! and the configuration that a server reads them from (`config_file`). The bytes go to OSS.

mod auth;
mod config_file;
mod devices;
mod service;
mod uploads;

use std::convert::Infallible;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tonic::{Code, Status};

use super::faults::Operation;
use super::ledger::{Ledger, Place};
use super::passage::{Answer, Arriving, Protocol, Service};

pub use auth::Auth;
pub use config_file::write as write_config;
pub use devices::{CloudDevice, Devices};
pub use service::{Destination, Gateway};

/// A gRPC service behind a door.
pub struct Calls<S> {
    pub server: S,
    pub ledger: Arc<Ledger>,
}

#[async_trait::async_trait]
impl<S> Service for Calls<S>
where
    S: tonic::codegen::Service<Request<Arriving>, Response = Response<tonic::body::Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn operation(&self, head: &Parts) -> Operation {
        match head.uri.path().rsplit('/').next() {
            Some("ExchangeCredential") => Operation::ExchangeCredential,
            Some("CreateLogicalUpload") => Operation::CreateUpload,
            Some("GetUploadRecovery") => Operation::Recovery,
            Some("ReissueUploadCredentials") => Operation::Reissue,
            Some("AbortUpload") => Operation::AbortUpload,
            Some("CompleteUpload") => Operation::CompleteUpload,
            _ => Operation::Read,
        }
    }

    fn place(&self, _head: &Parts) -> Option<Place> {
        None
    }

    async fn serve(&self, request: Request<Arriving>) -> Answer {
        let mut server = self.server.clone();
        let answer = match server.call(request).await {
            Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(never) => match never {},
        };
        if let Some(code) = refused(&answer) {
            self.ledger.refused("gateway", &format!("{code:?}"));
        }
        answer
    }

    fn slow_down(&self) -> Answer {
        let refusal = Status::unavailable("too many requests, come again later").into_http::<tonic::body::Body>();
        refusal.map(|body| body.map_err(Into::into).boxed_unsync())
    }

    fn carried_out(&self, answer: &Answer) -> bool {
        answer.status().is_success() && refused(answer).is_none()
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http2
    }
}

/// A refusal has its code in its head; what was carried out has it behind the body.
fn refused(answer: &Answer) -> Option<Code> {
    let code = answer.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
    code.filter(|code| *code != Code::Ok)
}
