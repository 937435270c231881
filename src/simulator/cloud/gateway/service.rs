//! The calls of the data gateway: who asks, what lies in OSS, and what time it is, for `uploads` to decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::devices::Devices;
use super::uploads::{Fresh, Moment, Refusal, Stage, Stored, Upload, Uploads};
use crate::gateway_api::data_gateway::data_gateway_service_server::DataGatewayService;
use crate::gateway_api::data_gateway::{
    AbortUploadRequest, AbortUploadResponse, CompleteUploadRequest, CompleteUploadResponse, CreateLogicalUploadRequest,
    GetUploadRecoveryRequest, LogicalUploadStatus, ReissueUploadCredentialsRequest, UploadCredentials, UploadRecovery, UploadSession,
};
use crate::simulator::cloud::faults::CloudFaults;
use crate::simulator::cloud::ledger::Place;
use crate::simulator::cloud::report::{LogicalUploadReport, RepeatedEpisodeReport};
use crate::simulator::cloud::shelf::Shelf;
use crate::simulator::cloud::sts::{Reach, Sts};
use crate::simulator::cloud::switch::Switch;

/// What the gateway tells of where objects go.
pub struct Destination {
    pub bucket: String,
    /// With its scheme.
    pub endpoint: String,
    pub key_prefix: String,
    pub part_size: i64,
}

pub struct Gateway {
    pub devices: Arc<Devices>,
    pub shelf: Arc<Shelf>,
    pub sts: Arc<Sts>,
    pub switch: Arc<Switch>,
    pub destination: Destination,
    pub uploads: Mutex<Uploads>,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::not_found("there is no such upload"),
            Refusal::NotOwned => Self::permission_denied("the upload is of another device"),
            Refusal::Argument(why) => Self::invalid_argument(why),
            Refusal::Precondition(why) => Self::failed_precondition(why),
        }
    }
}

/// Who asks, and when.
struct Caller {
    device: String,
    now: DateTime<Utc>,
    faults: Arc<CloudFaults>,
}

impl Caller {
    fn moment(&self) -> Moment<'_> {
        Moment { device: &self.device, now: self.now, abort_completed: self.faults.abort_completed }
    }
}

impl Gateway {
    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let now = Utc::now();
        let shown = request.metadata().get("authorization").and_then(|shown| shown.to_str().ok());
        let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
        let device = token.and_then(|token| self.devices.with_token(token, now));
        let device = device.ok_or_else(|| Status::unauthenticated("the token is missing, wrong or has expired"))?;
        Ok(Caller { device, now, faults: self.switch.faults() })
    }

    fn stored(&self, place: &Place) -> Result<Option<Stored>, Status> {
        let found = self.shelf.find(place).map_err(|error| Status::internal(format!("the bucket cannot be read: {error}")))?;
        Ok(found.map(|object| Stored::of(&object)))
    }

    /// What a client needs to send the bytes of an upload.
    fn session(&self, upload: &Upload, caller: &Caller) -> Response<UploadSession> {
        let given = self.sts.give(Reach::Object(upload.place.clone()), caller.now + caller.faults.lifetimes().sts);
        let (bucket, object_key) = upload.place.clone();
        let credentials = UploadCredentials {
            bucket,
            endpoint: self.destination.endpoint.clone(),
            object_key,
            sts_access_key_id: given.access_key_id,
            sts_access_key_secret: given.access_key_secret,
            sts_security_token: given.security_token,
            sts_expire_at_unix: given.expires_at.timestamp(),
            part_size_bytes: self.destination.part_size,
        };
        let (logical_upload_id, upload_id) = (upload.logical_id.clone(), upload.id.clone());
        Response::new(UploadSession { logical_upload_id, upload_id, credentials: Some(credentials) })
    }

    /// Every logical upload, and episodes that have more than one object.
    pub fn report(&self, now: DateTime<Utc>) -> anyhow::Result<(Vec<LogicalUploadReport>, Vec<RepeatedEpisodeReport>)> {
        let uploads = self.uploads();
        let (mut all, mut episodes) = (vec![], BTreeMap::<String, Vec<String>>::new());
        for upload in uploads.all() {
            let stored = self.stored(&upload.place)?;
            let moment = Moment { device: &upload.device, now, abort_completed: false };
            let recovery = uploads.recovery(upload, stored.as_ref(), moment);
            let (told, completed) = match &upload.stage {
                Stage::Completed { told, times } => (Some(told), *times),
                _ => (None, 0),
            };
            let hinted = upload.hints.get("episode_id");
            let episode_id = told.and_then(|told| told.tags.get("episode_id")).or(hinted).cloned();
            let (bucket, object_key) = upload.place.clone();
            if let (Some(episode), true) = (&episode_id, stored.is_some()) {
                episodes.entry(episode.clone()).or_default().push(object_key.clone());
            }
            all.push(LogicalUploadReport {
                logical_upload_id: upload.logical_id.clone(),
                upload_id: upload.id.clone(),
                device_id: upload.device.clone(),
                status: word(upload, recovery.status).to_owned(),
                terminal_reason: recovery.reason,
                episode_id,
                client_hints: upload.hints.clone(),
                tags: told.map(|told| told.tags.clone()).unwrap_or_default(),
                bucket,
                object_key,
                object_is_there: stored.is_some(),
                completed,
                credential_refreshes: upload.refreshes,
                restarted_from: upload.restarted_from.clone(),
            });
        }
        let repeated = episodes.into_iter().filter(|(_, object_keys)| object_keys.len() > 1);
        Ok((all, repeated.map(|(episode_id, object_keys)| RepeatedEpisodeReport { episode_id, object_keys }).collect()))
    }
}

/// Where an upload stands, in one word.
fn word(upload: &Upload, status: LogicalUploadStatus) -> &'static str {
    match (&upload.stage, status) {
        (Stage::Open, LogicalUploadStatus::Terminal) => "expired",
        (Stage::Open, LogicalUploadStatus::Completing) => "completing",
        (Stage::Open, _) => "active",
        (Stage::Completed { .. }, _) => "completed",
        (Stage::Aborted { .. }, _) => "aborted",
        (Stage::Restarted { .. }, _) => "restarted",
    }
}

#[async_trait::async_trait]
impl DataGatewayService for Gateway {
    async fn create_logical_upload(&self, request: Request<CreateLogicalUploadRequest>) -> Result<Response<UploadSession>, Status> {
        let caller = self.caller(&request)?;
        let CreateLogicalUploadRequest { client_hints, restart_from_upload_id } = request.into_inner();
        let id = |kind: &str| format!("{kind}-{}", Uuid::new_v4().simple());
        let (logical_id, id) = (id("lu"), id("up"));
        let Destination { bucket, key_prefix, .. } = &self.destination;
        let key = format!("{key_prefix}{}/{id}.mcap", caller.device);
        let fresh = Fresh {
            logical_id,
            id,
            place: (bucket.clone(), key),
            hints: client_hints.into_iter().collect(),
            session_ends: caller.now + caller.faults.lifetimes().session,
        };
        let upload = self.uploads().create(&restart_from_upload_id, fresh, caller.moment())?;
        Ok(self.session(&upload, &caller))
    }

    async fn get_upload_recovery(&self, request: Request<GetUploadRecoveryRequest>) -> Result<Response<UploadRecovery>, Status> {
        let caller = self.caller(&request)?;
        let uploads = self.uploads();
        let upload = uploads.find_logical(&request.into_inner().logical_upload_id, &caller.device)?;
        let stored = self.stored(&upload.place)?;
        let recovery = uploads.recovery(&upload, stored.as_ref(), caller.moment());
        let (bucket, object_key) = upload.place;
        Ok(Response::new(UploadRecovery {
            logical_upload_id: upload.logical_id,
            logical_upload_status: recovery.status.into(),
            current_upload_id: upload.id,
            bucket,
            endpoint: self.destination.endpoint.clone(),
            object_key,
            can_refresh_credentials: recovery.can_refresh,
            restart_allowed: recovery.can_restart,
            terminal_reason: recovery.reason,
            credential_refresh_count: upload.refreshes,
            session_expire_at_unix: upload.session_ends.timestamp(),
            next_action: recovery.action.into(),
            completed_part_count: stored.as_ref().map_or(0, Stored::part_count),
            oss_object_etag: stored.map(|stored| stored.etag).unwrap_or_default(),
        }))
    }

    async fn reissue_upload_credentials(
        &self,
        request: Request<ReissueUploadCredentialsRequest>,
    ) -> Result<Response<UploadSession>, Status> {
        let caller = self.caller(&request)?;
        let id = request.into_inner().upload_id;
        let mut uploads = self.uploads();
        let stored = self.stored(&uploads.find(&id, &caller.device)?.place)?;
        let upload = uploads.reissue(&id, stored.as_ref(), caller.moment())?;
        Ok(self.session(&upload, &caller))
    }

    async fn abort_upload(&self, request: Request<AbortUploadRequest>) -> Result<Response<AbortUploadResponse>, Status> {
        let caller = self.caller(&request)?;
        let AbortUploadRequest { logical_upload_id, reason } = request.into_inner();
        let upload = self.uploads().abort(&logical_upload_id, reason, caller.moment())?;
        Ok(Response::new(AbortUploadResponse { logical_upload_id: upload.logical_id, upload_id: upload.id }))
    }

    async fn complete_upload(&self, request: Request<CompleteUploadRequest>) -> Result<Response<CompleteUploadResponse>, Status> {
        let caller = self.caller(&request)?;
        let told = request.into_inner();
        let mut uploads = self.uploads();
        let id = told.upload_id.clone();
        let stored = self.stored(&uploads.find(&id, &caller.device)?.place)?;
        uploads.complete(&id, told.into(), stored.as_ref(), caller.moment())?;
        Ok(Response::new(CompleteUploadResponse {}))
    }
}
