//! `/episodes/{id}/certificate`: how an episode came to be, signed; and the keys that verify it.

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, PathId};
use super::policy::Policy;
use super::problem::{Code, Problem, failed};
use super::routes::Routes;
use crate::certificates::{CertificateError, Envelope, PublicKey};
use crate::domain::EpisodeId;
use crate::domain::sync::ChainStatus;
use crate::projections::reads::sync::SyncChainShown;

pub fn routes() -> Routes {
    let read = Policy::READ.closed().exact();
    Routes::default().at(read, routes!(get)).at(read.shared(), routes!(keys))
}

/// A certificate, and what came of sending it.
#[derive(Debug, Serialize, ToSchema)]
pub struct EpisodeCertificate {
    /// The certificate with its signature. Kept as a file of its own, `keystone certificate verify` checks it.
    certificate: CertificateEnvelope,
    /// That it arrived elsewhere. Not part of what is signed.
    receipts: Vec<CertificateReceipt>,
}

/// An envelope as DSSE has it, around an in-toto statement.
#[derive(Debug, Serialize, ToSchema)]
pub struct CertificateEnvelope {
    /// The statement in base64.
    payload: String,
    /// What the payload is: `application/vnd.in-toto+json`.
    #[serde(rename = "payloadType")]
    payload_type: String,
    /// Of the payload and its type.
    signatures: Vec<CertificateSignature>,
}

/// One signature.
#[derive(Debug, Serialize, ToSchema)]
pub struct CertificateSignature {
    /// The key that it is by: one of `/certificates/keys`.
    keyid: String,
    /// Ed25519, in base64.
    sig: String,
}

/// That a destination has the episode.
#[derive(Debug, Serialize, ToSchema)]
pub struct CertificateReceipt {
    /// Which destination.
    destination: String,
    /// Where it lies there.
    object: String,
    /// Since when.
    at: super::wire::WholeSecond,
}

/// Of each cloud that has it, where the newest time that it was to be there is over.
fn receipts(chain: &SyncChainShown) -> Vec<CertificateReceipt> {
    let Some(at) = chain.own.completed_at.filter(|_| chain.own.status == ChainStatus::Completed) else { return vec![] };
    let legs = chain.own.legs.as_object().into_iter().flatten();
    let receipt = |(cloud, leg): (&String, &Value)| {
        let object = leg["object"]["object_key"].as_str()?.to_owned();
        Some(CertificateReceipt { destination: cloud.clone(), object, at: at.into() })
    };
    legs.filter_map(receipt).collect()
}

impl From<Envelope> for CertificateEnvelope {
    fn from(envelope: Envelope) -> Self {
        let signatures = envelope.signatures.into_iter().map(|one| CertificateSignature { keyid: one.keyid, sig: one.sig });
        Self { payload: envelope.payload, payload_type: envelope.payload_type, signatures: signatures.collect() }
    }
}

impl From<CertificateError> for Problem {
    fn from(error: CertificateError) -> Self {
        let said = error.to_string();
        match error {
            CertificateError::NoEpisode => Self::not_found("episode"),
            CertificateError::NotApproved(status) => Self::new(Code::EpisodeNotApproved, said).with("qa_status", status.as_str()),
            CertificateError::LogBehind => Self::new(Code::LogBehind, said).retry_after(1),
            CertificateError::NoKey => Self::new(Code::CertificatesUnavailable, said),
            CertificateError::Read(error) => error.into(),
            CertificateError::Unreadable { .. } | CertificateError::Unwritable(_) => failed(&error.into()),
        }
    }
}

/// How an approved episode came to be, from its order to its approval, signed. The same bytes every time, until another verdict or decision comes.
#[utoipa::path(get, path = "/api/v1/episodes/{id}/certificate", tag = "episodes", params(("id" = i64, Path)), responses(
    (status = 200, body = EpisodeCertificate),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "It is not approved"),
    (status = 503, description = "The site has no key to sign with, or the log has not come as far"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<EpisodeCertificate>, Problem> {
    let id = EpisodeId(id.positive()?);
    let envelope = state.certificates.of_episode(&caller.scope, id).await?;
    let receipts = state.reads.newest_sync_chains(&[id]).await?.iter().flat_map(receipts).collect();
    Ok(Json(EpisodeCertificate { certificate: envelope.into(), receipts }))
}

/// One key.
#[derive(Debug, Serialize, ToSchema)]
pub struct CertificateKey {
    /// SHA-256 of the key's DER, in hex: what signatures name.
    key_id: String,
    /// The public key in PEM.
    pem: String,
    /// Whether it signs now; one that does not did before, and still verifies.
    signs: bool,
}

/// The keys that verify certificates of this site.
#[derive(Debug, Serialize, ToSchema)]
pub struct CertificateKeys {
    /// The one that signs first; empty where the site has none.
    items: Vec<CertificateKey>,
}

/// The public keys that verify certificates: the one that signs, and those that did before.
#[utoipa::path(get, path = "/api/v1/certificates/keys", tag = "episodes", responses((status = 200, body = CertificateKeys)))]
pub async fn keys(State(state): State<AppState>) -> Json<CertificateKeys> {
    let one = |(place, key): (usize, &PublicKey)| CertificateKey { key_id: key.id(), pem: key.pem(), signs: place == 0 };
    Json(CertificateKeys { items: state.certificates.keys().into_iter().enumerate().map(one).collect() })
}
