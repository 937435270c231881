//! The services of the data platform, called: with a token for the device, within a time, and once more where an answer was lost.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::super::PushError;
use super::super::platform::{Device, Platform, ServiceAddress};
use crate::config::Secret;
use crate::domain::sync::{SyncFailure, SyncFault};
use crate::gateway_api::auth::ExchangeCredentialRequest;
use crate::gateway_api::auth::auth_service_client::AuthServiceClient;
use crate::gateway_api::data_gateway::data_gateway_service_client::DataGatewayServiceClient;
use crate::gateway_api::data_gateway::{
    AbortUploadRequest, CompleteUploadRequest, CreateLogicalUploadRequest, GetUploadRecoveryRequest, ReissueUploadCredentialsRequest,
    UploadRecovery, UploadSession,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A token that is good for no longer is exchanged.
const TOKEN_LEFT_S: i64 = 60;
/// Why a call was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No answer, or a service that cannot at the moment.
    #[error("the data platform does not answer: {0:?}")]
    Away(Code),
    #[error("the data platform does not let the device in: {0:?}")]
    Denied(Code),
    #[error("the data platform knows no such upload")]
    NotFound,
    #[error("the data platform refused the call: {0:?}")]
    Refused(Code),
    #[error("the data platform answered what it does not answer: {0}")]
    Strange(&'static str),
}

/// Of what a service says only the code is kept: its text may be anything, the key that it was shown among it.
impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::NotFound => Self::NotFound,
            code @ (Code::Unauthenticated | Code::PermissionDenied) => Self::Denied(code),
            code @ (Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::AlreadyExists | Code::Unimplemented) => {
                Self::Refused(code)
            }
            code => Self::Away(code),
        }
    }
}

impl From<CallError> for PushError {
    fn from(error: CallError) -> Self {
        let fault = match error {
            CallError::Away(_) => SyncFault::CloudAway,
            CallError::Denied(_) => SyncFault::CloudDenied,
            CallError::NotFound | CallError::Refused(_) | CallError::Strange(_) => SyncFault::CloudRefused,
        };
        Self::Again { failure: SyncFailure::new(fault, error.to_string()), after: None }
    }
}

/// A device, and where its calls go.
#[derive(Clone, Debug)]
pub struct Caller {
    auth: ServiceAddress,
    gateway: ServiceAddress,
    api_key: Secret,
}

impl Caller {
    pub fn of(platform: &Platform, device: &Device) -> Self {
        Self { auth: platform.auth.clone(), gateway: platform.gateway.clone(), api_key: device.api_key.clone() }
    }

    /// Names its tokens. The key itself is kept nowhere.
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [self.auth.url.as_str(), self.api_key.expose()] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

struct Token {
    value: Secret,
    expires_at: i64,
}

pub struct Calls {
    timeout: Duration,
    channels: Mutex<HashMap<ServiceAddress, Channel>>,
    tokens: Mutex<HashMap<[u8; 32], Token>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the same call may be answered the next time.
fn is_worth_another(error: &CallError) -> bool {
    matches!(error, CallError::Away(_) | CallError::Denied(Code::Unauthenticated))
}

impl Calls {
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, channels: Mutex::default(), tokens: Mutex::default() }
    }

    /// Connects when it is used, and again after it was lost.
    fn channel(&self, service: &ServiceAddress) -> Result<Channel, CallError> {
        let mut channels = locked(&self.channels);
        if let Some(channel) = channels.get(service) {
            return Ok(channel.clone());
        }
        let wrong = |_| CallError::Strange("an address that is none");
        let mut endpoint = Endpoint::from_shared(service.url.clone()).map_err(wrong)?;
        if service.is_encrypted() {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(wrong)?;
        }
        let channel = endpoint.connect_timeout(CONNECT_TIMEOUT.min(self.timeout)).timeout(self.timeout).connect_lazy();
        channels.insert(service.clone(), channel.clone());
        Ok(channel)
    }

    /// What a service is asked, within the time. A connection over which no answer came is used no more.
    async fn within<A>(&self, service: &ServiceAddress, asked: impl Future<Output = Result<Response<A>, Status>>) -> Result<A, CallError> {
        let answer = match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(CallError::from),
            Err(_) => Err(CallError::Away(Code::DeadlineExceeded)),
        };
        if matches!(answer, Err(CallError::Away(_))) {
            locked(&self.channels).remove(service);
        }
        answer
    }

    #[expect(clippy::disallowed_methods, reason = "tokens are good by the time of this machine")]
    async fn token(&self, caller: &Caller) -> Result<Secret, CallError> {
        let digest = caller.digest();
        let now = chrono::Utc::now().timestamp();
        if let Some(token) = locked(&self.tokens).get(&digest).filter(|token| token.expires_at - now > TOKEN_LEFT_S) {
            return Ok(token.value.clone());
        }
        let mut service = AuthServiceClient::new(self.channel(&caller.auth)?);
        let request = ExchangeCredentialRequest { credential_base64: caller.api_key.expose().to_owned() };
        let given = self.within(&caller.auth, async move { service.exchange_credential(request).await }).await;
        // A key that is disabled is as good as one that is not known.
        let denied = |error| if matches!(error, CallError::Denied(_)) { CallError::Denied(Code::Unauthenticated) } else { error };
        let given = given.map_err(denied)?;
        let value = Secret::new(given.access_token);
        let mut tokens = locked(&self.tokens);
        tokens.retain(|_, token| token.expires_at > now);
        tokens.insert(digest, Token { value: value.clone(), expires_at: given.expires_at_unix });
        Ok(value)
    }

    async fn asked<Q, A, F, Answered>(&self, caller: &Caller, question: &Q, ask: &F) -> Result<A, CallError>
    where
        Q: Clone,
        F: Fn(DataGatewayServiceClient<Channel>, Request<Q>) -> Answered,
        Answered: Future<Output = Result<Response<A>, Status>>,
    {
        let token = self.token(caller).await?;
        let mut request = Request::new(question.clone());
        let mut shown: MetadataValue<_> =
            format!("Bearer {}", token.expose()).parse().map_err(|_| CallError::Strange("a token that cannot be shown"))?;
        shown.set_sensitive(true);
        request.metadata_mut().insert("authorization", shown);
        let answer = self.within(&caller.gateway, ask(DataGatewayServiceClient::new(self.channel(&caller.gateway)?), request)).await;
        if matches!(answer, Err(CallError::Denied(Code::Unauthenticated))) {
            locked(&self.tokens).remove(&caller.digest());
        }
        answer
    }

    /// Asked once more at once, where that may help: a connection may have been lost, or a token's end have come.
    async fn call<Q, A, F, Answered>(&self, caller: &Caller, question: Q, ask: F) -> Result<A, CallError>
    where
        Q: Clone,
        F: Fn(DataGatewayServiceClient<Channel>, Request<Q>) -> Answered,
        Answered: Future<Output = Result<Response<A>, Status>>,
    {
        match self.asked(caller, &question, &ask).await {
            Err(error) if is_worth_another(&error) => self.asked(caller, &question, &ask).await,
            answered => answered,
        }
    }

    /// Whether the services answer, and let the device in; what else they say to a question about nothing, does not matter.
    pub async fn probe(&self, caller: &Caller) -> Result<(), CallError> {
        let question = GetUploadRecoveryRequest { logical_upload_id: "probe".to_owned() };
        let ask = |mut service: DataGatewayServiceClient<Channel>, request| async move { service.get_upload_recovery(request).await };
        match self.call(caller, question, ask).await {
            Err(CallError::Away(Code::Internal | Code::ResourceExhausted | Code::Aborted | Code::DataLoss)) => Ok(()),
            // Of an upload that is not there, and so of none of its own.
            Err(CallError::Denied(Code::PermissionDenied)) => Ok(()),
            Err(error @ (CallError::Away(_) | CallError::Denied(_))) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// A new session, or one in place of `restart`.
    pub async fn create(&self, caller: &Caller, episode_id: &str, restart: Option<&str>) -> Result<UploadSession, CallError> {
        let hints = [("episode_id", episode_id), ("source", "keystone-edge")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let question =
            CreateLogicalUploadRequest { client_hints: hints.into(), restart_from_upload_id: restart.unwrap_or_default().to_owned() };
        self.call(caller, question, |mut service, request| async move { service.create_logical_upload(request).await }).await
    }

    pub async fn recovery(&self, caller: &Caller, logical_upload_id: &str) -> Result<UploadRecovery, CallError> {
        let question = GetUploadRecoveryRequest { logical_upload_id: logical_upload_id.to_owned() };
        self.call(caller, question, |mut service, request| async move { service.get_upload_recovery(request).await }).await
    }

    pub async fn reissue(&self, caller: &Caller, session_id: &str) -> Result<UploadSession, CallError> {
        let question = ReissueUploadCredentialsRequest { upload_id: session_id.to_owned() };
        self.call(caller, question, |mut service, request| async move { service.reissue_upload_credentials(request).await }).await
    }

    pub async fn complete(&self, caller: &Caller, question: CompleteUploadRequest) -> Result<(), CallError> {
        self.call(caller, question, |mut service, request| async move { service.complete_upload(request).await }).await.map(|_| ())
    }

    /// Asked once: nobody waits for what is given up.
    pub async fn abort(&self, caller: &Caller, logical_upload_id: &str, reason: &str) -> Result<(), CallError> {
        let question = AbortUploadRequest { logical_upload_id: logical_upload_id.to_owned(), reason: reason.to_owned() };
        let ask = |mut service: DataGatewayServiceClient<Channel>, request| async move { service.abort_upload(request).await };
        self.asked(caller, &question, &ask).await.map(|_| ())
    }
}
