//! Keys of devices become tokens.

use std::sync::Arc;

use chrono::Utc;
use tonic::{Request, Response, Status};

use super::devices::Devices;
use crate::gateway_api::auth::auth_service_server::AuthService;
use crate::gateway_api::auth::{ExchangeCredentialRequest, ExchangeCredentialResponse};
use crate::simulator::cloud::switch::Switch;

/// As much of a key as is shown.
const PREFIX_CHARS: usize = 8;

pub struct Auth {
    pub devices: Arc<Devices>,
    pub switch: Arc<Switch>,
}

#[async_trait::async_trait]
impl AuthService for Auth {
    async fn exchange_credential(
        &self,
        request: Request<ExchangeCredentialRequest>,
    ) -> Result<Response<ExchangeCredentialResponse>, Status> {
        let api_key = request.into_inner().credential_base64;
        let device = self.devices.with_key(&api_key).ok_or_else(|| Status::unauthenticated("the credential is not known"))?;
        let ends = Utc::now() + self.switch.faults().lifetimes().token;
        Ok(Response::new(ExchangeCredentialResponse {
            access_token: self.devices.give_token(&device.id, ends),
            expires_at_unix: ends.timestamp(),
            token_type: "Bearer".to_owned(),
            key_id: device.id.clone(),
            key_prefix: api_key.chars().take(PREFIX_CHARS).collect(),
        }))
    }
}
