//! The data gateway and the OSS of the simulated cloud, as their clients see them: the calls by the generated client, OSS by
//! requests that are made by hand.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use keystone_edge::gateway_api::auth::ExchangeCredentialRequest;
use keystone_edge::gateway_api::auth::auth_service_client::AuthServiceClient;
use keystone_edge::gateway_api::data_gateway::data_gateway_service_client::DataGatewayServiceClient;
use keystone_edge::gateway_api::data_gateway::{
    AbortUploadRequest, CompleteUploadRequest, CreateLogicalUploadRequest, GetUploadRecoveryRequest, LogicalUploadStatus,
    ReissueUploadCredentialsRequest, UploadRecovery, UploadRecoveryAction, UploadSession,
};
use keystone_edge::simulator::cloud::{Cloud, CloudFaults, CloudOptions, CloudReport, LogicalUploadReport, OutageKind};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::oss::{Ask, RawOss, tag, tag_of_parts};
use crate::harness::{simulated_cloud, until};

const KIB: usize = 1 << 10;
/// The least that OSS takes.
const PART: usize = 100 * KIB;

struct Trial {
    cloud: Cloud,
    _folder: TempDir,
}

impl Trial {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With two devices, `a` and `b`, and keys with everything in them that has to be encoded.
    async fn with(change: impl FnOnce(&mut CloudOptions)) -> Self {
        let (cloud, _folder) = simulated_cloud(|options| {
            options.devices = vec!["a:a2V5IG9mIGE=,site=shanghai".parse().unwrap(), "b".parse().unwrap()];
            options.key_prefix = "工厂 1/a+b %2F/".to_owned();
            options.part_size = PART as i64;
            change(options);
        })
        .await;
        Self { cloud, _folder }
    }

    fn faults(&self, change: impl FnOnce(&mut CloudFaults)) {
        let mut faults = CloudFaults::default();
        change(&mut faults);
        self.cloud.set_faults(faults);
    }

    async fn device(&self, api_key: &str) -> Result<Device, Status> {
        let addresses = self.cloud.addresses();
        let channel = |url: String| Channel::from_shared(url).expect("a URL").connect_lazy();
        let mut auth = AuthServiceClient::new(channel(addresses.auth_endpoint()));
        let request = ExchangeCredentialRequest { credential_base64: api_key.to_owned() };
        let given = auth.exchange_credential(request).await?.into_inner();
        assert_eq!((&*given.token_type, given.key_prefix.len()), ("Bearer", 8));
        Ok(Device {
            gateway: DataGatewayServiceClient::new(channel(addresses.gateway_endpoint())),
            token: given.access_token,
            expires_at: given.expires_at_unix,
        })
    }

    async fn a(&self) -> Device {
        self.device("a2V5IG9mIGE=").await.expect("a token")
    }

    /// As a person, with the key that needs no token.
    fn oss(&self) -> RawOss {
        RawOss {
            address: self.cloud.addresses().oss,
            bucket: "keystone-oss".to_owned(),
            id: "simulated-cloud".to_owned(),
            secret: "simulated-cloud-secret".to_owned(),
            token: None,
            ahead: TimeDelta::zero(),
            client: reqwest::Client::new(),
        }
    }

    /// With the credentials of an upload.
    fn oss_of(&self, session: &UploadSession) -> RawOss {
        let credentials = session.credentials.clone().expect("credentials");
        assert_eq!(credentials.endpoint, self.cloud.addresses().oss_endpoint());
        RawOss {
            bucket: credentials.bucket,
            id: credentials.sts_access_key_id,
            secret: credentials.sts_access_key_secret,
            token: Some(credentials.sts_security_token),
            ..self.oss()
        }
    }

    async fn report(&self) -> CloudReport {
        self.cloud.report().await.expect("a report")
    }

    async fn upload(&self, id: &str) -> LogicalUploadReport {
        let all = self.report().await.logical_uploads;
        all.into_iter().find(|upload| upload.upload_id == id).unwrap_or_else(|| panic!("no upload {id}"))
    }

    async fn refused(&self, name: &str) -> u64 {
        self.report().await.refusals.get(name).copied().unwrap_or_default()
    }
}

#[derive(Clone)]
struct Device {
    gateway: DataGatewayServiceClient<Channel>,
    token: String,
    expires_at: i64,
}

impl Device {
    fn signed<T>(&self, request: T) -> Request<T> {
        let mut request = Request::new(request);
        request.set_timeout(Duration::from_secs(20));
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse().expect("a header"));
        request
    }

    async fn create(&mut self, episode: &str, restart: &str) -> Result<UploadSession, Status> {
        let hints = HashMap::from([("episode_id".to_owned(), episode.to_owned()), ("source".to_owned(), "keystone-edge".to_owned())]);
        let request = CreateLogicalUploadRequest { client_hints: hints, restart_from_upload_id: restart.to_owned() };
        Ok(self.gateway.create_logical_upload(self.signed(request)).await?.into_inner())
    }

    async fn recovery(&mut self, session: &UploadSession) -> Result<UploadRecovery, Status> {
        let request = GetUploadRecoveryRequest { logical_upload_id: session.logical_upload_id.clone() };
        Ok(self.gateway.get_upload_recovery(self.signed(request)).await?.into_inner())
    }

    /// Until a call is answered: the one that finds its connection closed, as by the fault before, hears of that alone.
    async fn reconnected(&mut self) {
        let nowhere = UploadSession::default();
        until("a connection that is good", async || code(self.recovery(&nowhere).await) == Code::NotFound).await;
    }

    async fn next(&mut self, session: &UploadSession) -> (LogicalUploadStatus, UploadRecoveryAction) {
        let found = self.recovery(session).await.expect("a recovery");
        (found.logical_upload_status(), found.next_action())
    }

    async fn reissue(&mut self, session: &UploadSession) -> Result<UploadSession, Status> {
        let request = ReissueUploadCredentialsRequest { upload_id: session.upload_id.clone() };
        Ok(self.gateway.reissue_upload_credentials(self.signed(request)).await?.into_inner())
    }

    async fn abort(&mut self, session: &UploadSession) -> Result<(), Status> {
        let request = AbortUploadRequest { logical_upload_id: session.logical_upload_id.clone(), reason: "size changed".to_owned() };
        self.gateway.abort_upload(self.signed(request)).await.map(drop)
    }

    async fn complete(&mut self, request: CompleteUploadRequest) -> Result<(), Status> {
        self.gateway.complete_upload(self.signed(request)).await.map(drop)
    }
}

fn key(session: &UploadSession) -> &str {
    &session.credentials.as_ref().expect("credentials").object_key
}

fn content(bytes: usize, seed: usize) -> Bytes {
    (0..bytes).map(|i| (i.wrapping_mul(7).wrapping_add(seed * 13) % 251) as u8).collect()
}

/// Two whole parts and some more.
fn recording() -> Bytes {
    content(2 * PART + 17, 1)
}

async fn send(oss: &RawOss, key: &str, recording: &Bytes) {
    let upload = oss.initiate(key).await;
    let mut etags = vec![];
    for (nth, part) in recording.chunks(PART).enumerate() {
        let sent = oss.part(key, &upload, nth + 1, part.to_vec()).await;
        assert_eq!((sent.status, sent.header("etag")), (200, &*tag(part)), "{}", sent.text());
        etags.push(sent.header("etag").to_owned());
    }
    let named: Vec<_> = etags.iter().enumerate().map(|(nth, etag)| (nth + 1, &**etag)).collect();
    let made = oss.complete(key, &upload, &named).await;
    assert_eq!(made.status, 200, "{}", made.text());
}

fn completion(session: &UploadSession, recording: &Bytes, episode: &str) -> CompleteUploadRequest {
    let parts: Vec<&[u8]> = recording.chunks(PART).collect();
    let tags = [("episode_id", episode), ("site", "shanghai"), ("scene", "工位 <3> & more")];
    CompleteUploadRequest {
        upload_id: session.upload_id.clone(),
        file_size: recording.len() as i64,
        raw_tags: tags.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        completed_part_count: parts.len() as i32,
        oss_object_etag: tag_of_parts(parts),
        part_size_bytes: PART as i64,
    }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Code {
    outcome.expect_err("a refusal").code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_goes_by_the_gateway_into_oss() {
    let trial = Trial::new().await;
    let mut device = trial.a().await;
    assert!((Utc::now().timestamp() + 3590..=Utc::now().timestamp() + 3600).contains(&device.expires_at));
    let session = device.create("ep_1", "").await.unwrap();
    assert!(key(&session).starts_with("工厂 1/a+b %2F/a/"), "{}", key(&session));
    assert_eq!(session.credentials.as_ref().unwrap().part_size_bytes, PART as i64);
    assert_eq!(device.next(&session).await, (LogicalUploadStatus::Active, UploadRecoveryAction::Continue));

    let (oss, recording) = (trial.oss_of(&session), recording());
    send(&oss, key(&session), &recording).await;
    let found = device.recovery(&session).await.unwrap();
    assert_eq!((found.logical_upload_status(), found.next_action()), (LogicalUploadStatus::Completing, UploadRecoveryAction::CompleteOnly));
    let told = completion(&session, &recording, "ep_1");
    assert_eq!((&found.oss_object_etag, found.completed_part_count), (&told.oss_object_etag, 3));
    assert_eq!((&*found.object_key, &found.current_upload_id, found.can_refresh_credentials), (key(&session), &session.upload_id, true));
    let head = oss.head(key(&session)).await;
    assert_eq!((head.header("etag"), head.header("content-length")), (&*found.oss_object_etag, &*recording.len().to_string()));
    assert_eq!(oss.get(key(&session)).await.body, recording);

    // Completed once, and once more: the first answer may have been lost.
    device.complete(told.clone()).await.unwrap();
    device.complete(told.clone()).await.unwrap();
    assert_eq!(device.next(&session).await, (LogicalUploadStatus::Completed, UploadRecoveryAction::CompleteOnly));
    let upload = trial.upload(&session.upload_id).await;
    assert_eq!((&*upload.status, upload.completed, &*upload.device_id, upload.object_is_there), ("completed", 2, "a", true));
    assert_eq!((upload.tags, upload.client_hints["source"].as_str()), (told.raw_tags.into_iter().collect(), "keystone-edge"));
    let report = trial.report().await;
    assert_eq!((report.repeated_episodes, report.requests["complete_upload"], report.requests["exchange_credential"]), (vec![], 2, 1));
    let object = report.objects.iter().find(|object| object.key == key(&session)).expect("the object");
    assert_eq!((object.parts, object.completed, object.resent_bytes), (3, 1, 0));
    assert_eq!(object.sha256, Some(hex::encode(Sha256::digest(&recording))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_compares_and_knows_who_asks() {
    let trial = Trial::new().await;
    assert_eq!(code(trial.device("another key").await.map(|_| ())), Code::Unauthenticated);
    let (mut a, mut b) = (trial.a().await, trial.device("c2ltdWxhdGVkOmI=").await.expect("a token"));
    let (session, recording) = (a.create("ep_1", "").await.unwrap(), recording());
    let right = completion(&session, &recording, "ep_1");
    assert_eq!(code(a.complete(right.clone()).await), Code::FailedPrecondition, "nothing is there");
    send(&trial.oss_of(&session), key(&session), &recording).await;
    for wrong in [
        CompleteUploadRequest { file_size: right.file_size - 1, ..right.clone() },
        CompleteUploadRequest { completed_part_count: 2, ..right.clone() },
        CompleteUploadRequest { oss_object_etag: right.oss_object_etag.to_lowercase(), ..right.clone() },
        CompleteUploadRequest { oss_object_etag: right.oss_object_etag.trim_matches('"').to_owned(), ..right.clone() },
        CompleteUploadRequest { part_size_bytes: 1 << 20, ..right.clone() },
    ] {
        assert_eq!(code(a.complete(wrong.clone()).await), Code::FailedPrecondition, "{wrong:?}");
    }
    for wrong in [
        CompleteUploadRequest { completed_part_count: 0, ..right.clone() },
        completion(&session, &recording, "ep_2"),
        CompleteUploadRequest { raw_tags: HashMap::from([(String::new(), "x".to_owned())]), ..right.clone() },
    ] {
        assert_eq!(code(a.complete(wrong.clone()).await), Code::InvalidArgument, "{wrong:?}");
    }
    // Another device, a token that is none, an upload that is none.
    assert_eq!(code(b.complete(right.clone()).await), Code::PermissionDenied);
    assert_eq!(code(b.recovery(&session).await), Code::PermissionDenied);
    assert_eq!(code(b.reissue(&session).await), Code::PermissionDenied);
    assert_eq!(code(b.abort(&session).await), Code::PermissionDenied);
    assert_eq!(code(b.create("ep_1", &session.upload_id).await), Code::PermissionDenied);
    let mut stranger = Device { token: "a guess".to_owned(), ..a.clone() };
    assert_eq!(code(stranger.create("ep_1", "").await), Code::Unauthenticated);
    let nowhere = UploadSession { logical_upload_id: "lu-0".to_owned(), upload_id: "up-0".to_owned(), credentials: None };
    assert_eq!((code(a.recovery(&nowhere).await), code(a.reissue(&nowhere).await)), (Code::NotFound, Code::NotFound));
    a.complete(right).await.unwrap();
    assert_eq!(code(a.abort(&session).await), Code::FailedPrecondition);
    assert_eq!((trial.refused("gateway PermissionDenied").await, trial.refused("gateway Unauthenticated").await), (5, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_credentials_and_sessions_expire_and_are_given_again() {
    let trial = Trial::new().await;
    let mut device = trial.a().await;
    trial.faults(|faults| faults.sts_lifetime = Some(Duration::from_millis(300)));
    let session = device.create("ep_1", "").await.unwrap();
    let oss = trial.oss_of(&session);
    assert_eq!(oss.initiate(key(&session)).await.len(), 32);
    until("the credentials expire", async || oss.head(key(&session)).await.status == 403).await;
    let told = base64_text(oss.head(key(&session)).await.header("x-oss-err"));
    assert!(told.contains("<Code>SecurityTokenExpired</Code>"), "{told}");
    let put = oss.put(key(&session), "x").await;
    assert_eq!((put.status, put.code()), (403, "SecurityTokenExpired".to_owned()));
    trial.faults(|_| {});
    let session = device.reissue(&session).await.unwrap();
    assert_eq!(trial.oss_of(&session).put(key(&session), "x").await.status, 200);
    assert_eq!(device.recovery(&session).await.unwrap().credential_refresh_count, 1);

    // Ended from one moment to the next, whatever was said when they were given.
    trial.cloud.expire_credentials();
    assert_eq!(trial.oss_of(&session).put(key(&session), "x").await.code(), "SecurityTokenExpired");
    assert_eq!(code(device.recovery(&session).await), Code::Unauthenticated);
    let mut device = trial.a().await;
    let session = device.reissue(&session).await.unwrap();
    assert_eq!(trial.oss_of(&session).head(key(&session)).await.status, 200);
    trial.faults(|faults| faults.token_lifetime = Some(Duration::ZERO));
    let mut late = trial.a().await;
    assert_eq!(code(late.recovery(&session).await), Code::Unauthenticated);

    // A session that is over is restarted; one that was aborted is not.
    trial.faults(|faults| faults.session_lifetime = Some(Duration::ZERO));
    let over = device.create("ep_2", "").await.unwrap();
    assert_eq!(device.next(&over).await, (LogicalUploadStatus::Terminal, UploadRecoveryAction::Restart));
    assert_eq!(code(device.reissue(&over).await), Code::FailedPrecondition);
    trial.faults(|_| {});
    let again = device.create("ep_2", &over.upload_id).await.unwrap();
    assert_eq!(device.create("ep_2", &over.upload_id).await.unwrap().upload_id, again.upload_id, "an answer may have been lost");
    assert_ne!((key(&again), &again.logical_upload_id), (key(&over), &over.logical_upload_id));
    assert_eq!(device.next(&again).await, (LogicalUploadStatus::Active, UploadRecoveryAction::Continue));
    for _ in 0..2 {
        device.abort(&again).await.unwrap();
    }
    let ended = device.recovery(&again).await.unwrap();
    assert_eq!((ended.next_action(), &*ended.terminal_reason, ended.restart_allowed), (UploadRecoveryAction::Abort, "size changed", false));
    assert_eq!(code(device.create("ep_2", &again.upload_id).await), Code::FailedPrecondition);
    let states = [(&over, "restarted"), (&again, "aborted")];
    for (session, state) in states {
        assert_eq!(trial.upload(&session.upload_id).await.status, state);
    }
    assert_eq!(trial.upload(&again.upload_id).await.restarted_from, Some(over.upload_id));
}

fn base64_text(text: &str) -> String {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    String::from_utf8(bytes).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oss_checks_who_signed_what() {
    let trial = Trial::new().await;
    let mut device = trial.a().await;
    let (one, other) = (device.create("ep_1", "").await.unwrap(), device.create("ep_2", "").await.unwrap());
    let (oss, place) = (trial.oss_of(&one), key(&one).to_owned());
    let code = |oss: RawOss| {
        let place = place.clone();
        async move {
            let answer = oss.put(&place, "x").await;
            (answer.status, answer.code())
        }
    };
    let refused = |code: &str| (403, code.to_owned());
    assert_eq!(code(RawOss { secret: "a guess".to_owned(), ..oss.clone() }).await, refused("SignatureDoesNotMatch"));
    assert_eq!(code(RawOss { token: None, ..oss.clone() }).await, refused("InvalidAccessKeyId"));
    assert_eq!(code(RawOss { id: "STS.another".to_owned(), ..oss.clone() }).await, refused("InvalidAccessKeyId"));
    let others = trial.oss_of(&other);
    assert_eq!(code(RawOss { token: others.token.clone(), ..oss.clone() }).await, refused("InvalidSecurityToken"));
    assert_eq!(code(others).await, refused("AccessDenied"), "credentials are good for one object");
    assert_eq!(code(RawOss { ahead: TimeDelta::minutes(20), ..oss.clone() }).await, refused("RequestTimeTooSkewed"));
    assert_eq!(code(RawOss { ahead: TimeDelta::minutes(-14), ..oss.clone() }).await, (200, String::new()));
    assert_eq!(code(RawOss { bucket: "another".to_owned(), ..trial.oss() }).await, (404, "NoSuchBucket".to_owned()));
    let own = RawOss { token: Some("a token".to_owned()), ..trial.oss() };
    assert_eq!(code(own).await, refused("InvalidAccessKeyId"), "the key of a person has no token");

    // `max-parts` says how much is wanted, not of what: it is not signed.
    let upload = oss.initiate(&place).await;
    oss.part(&place, &upload, 1, "x").await;
    let probe = Ask { method: "GET", key: &place, signed: &[("uploadId", &upload)], other: &[("max-parts", "1")], ..Ask::default() };
    assert_eq!(oss.ask(probe.clone()).await.elements("PartNumber"), ["1"]);
    let wrong = oss.ask(Ask { signed: &[("max-parts", "1"), ("uploadId", &upload)], other: &[], ..probe.clone() }).await;
    assert_eq!(wrong.code(), "SignatureDoesNotMatch");
    assert!(wrong.element("StringToSign").is_some_and(|text| text.ends_with(&format!("?uploadId={upload}"))), "{}", wrong.text());
    // A key that was encoded twice is another key.
    let twice = crate::harness::s3::encode(&crate::harness::s3::encode(&place, "/"), "/");
    let wrong = oss.ask(Ask { path: Some(twice), ..probe }).await;
    assert_eq!((wrong.status, wrong.code()), refused("SignatureDoesNotMatch"));
    // Its own headers are signed, others are not.
    let headers = [("cache-control", "no-store"), ("x-oss-meta-a", "1"), ("x-oss-meta-b", "2 3")];
    let put = oss.ask(Ask { method: "PUT", key: &place, headers: &headers, body: "x".into(), ..Ask::default() }).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let head = oss.head(&place).await;
    assert_eq!((head.header("x-oss-meta-b"), head.header("cache-control")), ("2 3", "no-store"));
    let unsigned = reqwest::Client::new().get(format!("{}/keystone-oss/x", trial.cloud.addresses().oss_endpoint())).send().await.unwrap();
    assert_eq!(unsigned.status(), 403);
    assert_eq!(trial.refused("oss SignatureDoesNotMatch").await, 3);
    trial.faults(|faults| faults.key_lifetime = Some(Duration::ZERO));
    assert_eq!(trial.oss().get("x").await.code(), "InvalidAccessKeyId");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oss_keeps_objects_whole_and_in_parts() {
    let trial = Trial::new().await;
    let (oss, recording) = (trial.oss(), recording());
    let put = oss.put("a b/工+c", recording.clone()).await;
    assert_eq!((put.status, put.header("etag")), (200, &*tag(&recording)));
    let crc64 = put.header("x-oss-hash-crc64ecma").to_owned();
    assert_eq!(oss.put("digits", "123456789").await.header("x-oss-hash-crc64ecma"), 0x995d_c9bb_df19_39fa_u64.to_string());
    let head = oss.head("a b/工+c").await;
    assert_eq!((head.header("x-oss-object-type"), head.header("x-oss-hash-crc64ecma")), ("Normal", &*crc64));
    let (here, beyond) = ([("range", "bytes=10-19")], [("range", "bytes=900000-")]);
    let some = oss.ask(Ask { method: "GET", key: "a b/工+c", headers: &here, ..Ask::default() }).await;
    assert_eq!((some.status, &some.body, some.header("etag").len()), (206, &recording.slice(10..20), 34));
    let all = oss.ask(Ask { method: "GET", key: "a b/工+c", headers: &beyond, ..Ask::default() }).await;
    assert_eq!((all.status, all.body.len()), (200, recording.len()), "as OSS answers a range that is not there");
    let named = [("response-content-disposition", "attachment; filename=\"a b\"")];
    let named = oss.ask(Ask { method: "GET", key: "a b/工+c", signed: &named, ..Ask::default() }).await;
    assert_eq!((named.status, named.header("content-disposition")), (200, "attachment; filename=\"a b\""));
    let kept = [("x-oss-forbid-overwrite", "true")];
    let again = oss.ask(Ask { method: "PUT", key: "digits", headers: &kept, body: "x".into(), ..Ask::default() }).await;
    assert_eq!((again.status, again.code()), (409, "FileAlreadyExists".to_owned()));
    let wrong = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    let wrong = oss.ask(Ask { method: "PUT", key: "x", headers: &wrong, body: "x".into(), ..Ask::default() }).await;
    assert_eq!((wrong.status, wrong.code()), (400, "InvalidDigest".to_owned()));
    let copied = [("x-oss-copy-source", "/keystone-oss/digits")];
    let copied = oss.ask(Ask { method: "PUT", key: "x", headers: &copied, ..Ask::default() }).await;
    assert_eq!((copied.status, copied.code()), (501, "NotImplemented".to_owned()));
    let listed = oss.ask(Ask { method: "GET", key: "", other: &[("prefix", "a")], ..Ask::default() }).await;
    assert_eq!(listed.code(), "NotImplemented");

    let upload = oss.initiate("parts").await;
    let parts: Vec<Bytes> = recording.chunks(PART).map(Bytes::copy_from_slice).collect();
    for (number, part) in [(1, &parts[0]), (2, &parts[1]), (5, &parts[2]), (2, &parts[1]), (9, &parts[2])] {
        let sent = oss.part("parts", &upload, number, part.clone()).await;
        assert_eq!((sent.status, sent.header("etag")), (200, &*tag(part)), "{}", sent.text());
    }
    let page = |marker: &'static str| {
        let (oss, upload) = (oss.clone(), upload.clone());
        async move {
            let other = [("max-parts", "3"), ("part-number-marker", marker), ("encoding-type", "url")];
            oss.ask(Ask { method: "GET", key: "parts", signed: &[("uploadId", &upload)], other: &other, ..Ask::default() }).await
        }
    };
    let first = page("0").await;
    assert_eq!(
        (first.elements("PartNumber"), first.element("IsTruncated").unwrap()),
        (["1", "2", "5"].map(str::to_owned).to_vec(), "true".to_owned())
    );
    assert_eq!(first.element("NextPartNumberMarker").as_deref(), Some("5"));
    assert_eq!((page("5").await.elements("PartNumber"), page("5").await.elements("Size")), (vec!["9".to_owned()], vec!["17".to_owned()]));
    let [one, two, rest] = [0, 1, 2].map(|nth| tag(&parts[nth]));
    for (wanted, code) in [
        (&[(5, &*rest), (9, &*rest)][..], "EntityTooSmall"),
        (&[(2, &*two), (1, &*one)], "InvalidPartOrder"),
        (&[(1, &*two)], "InvalidPart"),
        (&[(4, &*two)], "InvalidPart"),
        (&[], "MalformedXML"),
    ] {
        let refused = oss.complete("parts", &upload, wanted).await;
        assert_eq!((refused.status, refused.code()), (400, code.to_owned()), "{wanted:?}");
    }
    let made = oss.complete("parts", &upload, &[(1, &one), (2, &two), (9, &rest)]).await;
    let etag = tag_of_parts([&*parts[0], &*parts[1], &*parts[2]]);
    assert_eq!((made.status, made.header("etag"), made.header("x-oss-hash-crc64ecma")), (200, &*etag, &*crc64));
    assert_eq!(oss.get("parts").await.body, recording);
    assert_eq!(oss.head("parts").await.header("x-oss-object-type"), "Multipart");
    let late = oss.complete("parts", &upload, &[(1, &one)]).await;
    assert_eq!((late.status, late.code()), (404, "NoSuchUpload".to_owned()));

    let upload = oss.initiate("gone").await;
    oss.part("gone", &upload, 1, "x").await;
    assert_eq!(trial.report().await.unfinished.iter().map(|one| &*one.key).collect::<Vec<_>>(), ["gone"]);
    assert_eq!(oss.abort("gone", &upload).await.status, 204);
    assert_eq!(oss.abort("gone", &upload).await.code(), "NoSuchUpload");
    assert_eq!(oss.get("gone").await.code(), "NoSuchKey");
    assert!(trial.report().await.unfinished.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_on_purpose_befalls_calls_too() {
    let trial = Trial::new().await;
    let (mut device, recording) = (trial.a().await, recording());
    trial.faults(|faults| faults.slow_downs = 1.0);
    assert_eq!(code(device.create("ep_1", "").await), Code::Unavailable);
    trial.faults(|faults| faults.cut_connections = 1.0);
    assert!(device.create("ep_1", "").await.is_err());
    assert_eq!(trial.report().await.logical_uploads, [], "neither was carried out");
    trial.faults(|_| {});
    device.reconnected().await;

    // Carried out, and not answered: it is there, and nobody knows.
    trial.faults(|faults| faults.lost_answers = vec!["create-upload=1".parse().unwrap()]);
    assert!(device.create("ep_1", "").await.is_err());
    assert_eq!(trial.report().await.logical_uploads.len(), 1);
    trial.faults(|_| {});
    device.reconnected().await;
    let session = device.create("ep_1", "").await.unwrap();
    send(&trial.oss_of(&session), key(&session), &recording).await;
    trial.faults(|faults| faults.lost_answers = vec!["complete-upload=1".parse().unwrap()]);
    let told = completion(&session, &recording, "ep_1");
    assert!(device.complete(told.clone()).await.is_err());
    device.reconnected().await;
    let refused = device.complete(CompleteUploadRequest { completed_part_count: 0, ..told.clone() }).await;
    assert_eq!(code(refused), Code::InvalidArgument, "a refusal is no answer that is lost");
    assert_eq!(trial.upload(&session.upload_id).await.completed, 1);
    trial.faults(|faults| faults.abort_completed = true);
    assert_eq!(device.next(&session).await, (LogicalUploadStatus::Completed, UploadRecoveryAction::Abort));
    trial.faults(|_| {});
    assert_eq!(device.next(&session).await, (LogicalUploadStatus::Completed, UploadRecoveryAction::CompleteOnly));
    device.complete(told).await.unwrap();
    assert_eq!(trial.upload(&session.upload_id).await.completed, 2);
    let report = trial.report().await;
    let done = |name: &str| report.faults.get(name).copied().unwrap_or_default();
    // A client of HTTP/2 may send a call again that nothing was heard of.
    assert!(done("slow_downs") == 1 && done("cut_connections") >= 1, "{:?}", report.faults);
    assert!(done("lost_create_upload_answers") >= 1 && done("lost_complete_upload_answers") >= 1, "{:?}", report.faults);

    // In an outage, of either kind.
    trial.faults(|faults| faults.down = true);
    let mut refused = device.clone();
    // The call that finds its connection reset may hear of that alone.
    until("new connections are refused", async || code(refused.recovery(&session).await) == Code::Unavailable).await;
    trial.faults(|_| {});
    until("the gateway is back", async || refused.recovery(&session).await.is_ok()).await;
    trial.faults(|faults| (faults.down, faults.outage_kind) = (true, OutageKind::Swallow));
    let mut waiting = device.clone();
    let asked = session.clone();
    let waits = tokio::spawn(async move { waiting.recovery(&asked).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waits.is_finished(), "nothing moves");
    trial.faults(|faults| faults.latency = Duration::from_millis(200));
    waits.await.unwrap().expect("an answer after the outage");
    let started = tokio::time::Instant::now();
    device.recovery(&session).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_objects_of_one_episode_are_told_apart() {
    let trial = Trial::new().await;
    let (mut device, recording) = (trial.a().await, recording());
    let first = device.create("ep_1", "").await.unwrap();
    send(&trial.oss_of(&first), key(&first), &recording).await;
    device.complete(completion(&first, &recording, "ep_1")).await.unwrap();
    let other = device.create("ep_2", "").await.unwrap();
    send(&trial.oss_of(&other), key(&other), &recording).await;
    assert_eq!(trial.report().await.repeated_episodes, []);
    // The object is there, if not completed: it is the second one.
    let second = device.create("ep_1", "").await.unwrap();
    send(&trial.oss_of(&second), key(&second), &recording).await;
    let repeated = trial.report().await.repeated_episodes;
    let mut keys = [key(&first), key(&second)];
    keys.sort_unstable();
    let mut found = repeated[0].object_keys.clone();
    found.sort_unstable();
    assert_eq!((repeated.len(), &*repeated[0].episode_id, found), (1, "ep_1", keys.map(str::to_owned).to_vec()));
    assert_eq!(trial.upload(&second.upload_id).await.status, "completing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_compares_what_it_can() {
    let recording = recording();
    for unchecked in [false, true] {
        let trial = Trial::with(|options| (options.discard, options.unchecked) = (true, unchecked)).await;
        let mut device = trial.a().await;
        let session = device.create("ep_1", "").await.unwrap();
        let oss = trial.oss_of(&session);
        let upload = oss.initiate(key(&session)).await;
        let mut etags = vec![];
        for (nth, part) in recording.chunks(PART).enumerate() {
            etags.push(oss.part(key(&session), &upload, nth + 1, part.to_vec()).await.header("etag").to_owned());
        }
        let named: Vec<_> = etags.iter().enumerate().map(|(nth, etag)| (nth + 1, &**etag)).collect();
        assert_eq!(oss.complete(key(&session), &upload, &named).await.status, 200);
        let right = completion(&session, &recording, "ep_1");
        let wrong = CompleteUploadRequest { oss_object_etag: "\"0-3\"".to_owned(), ..right.clone() };
        let shorter = CompleteUploadRequest { file_size: 1, ..right.clone() };
        assert_eq!(code(device.complete(shorter).await), Code::FailedPrecondition, "sizes are known");
        if !unchecked {
            assert_eq!(code(device.complete(wrong).await), Code::FailedPrecondition);
        }
        device.complete(right).await.unwrap();
        assert_eq!(oss.get(key(&session)).await.code(), "NotImplemented", "nothing is kept");
    }
}
