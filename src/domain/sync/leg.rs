//! A leg: the way of a recording to one cloud, what was begun there, and what is there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::Timestamp;
use super::super::words::words;
use super::failure::{GivenUpCause, SyncFailure};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    pub stage: LegStage,
    /// How often it was claimed and the cloud was there.
    pub attempts: u32,
    /// How often it was claimed, whatever came of it: what was sent before may be there.
    #[serde(default)]
    pub claims: u32,
    /// With a cloud that opens one for each recording.
    #[serde(default)]
    pub session: Option<OpenedSession>,
    pub upload: Option<StartedUpload>,
    /// Of this upload, by their numbers.
    pub parts: BTreeMap<u32, FinishedPart>,
    pub object: Option<FinishedObject>,
    /// When the service was told that is told of new episodes, or the gateway that all of it is there.
    pub told_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegStage {
    #[default]
    Waiting,
    Claimed {
        session: String,
        at: Timestamp,
    },
    Failed {
        next_retry_at: Timestamp,
    },
    Done,
    /// Nobody tries any more. The other legs go on.
    GivenUp {
        cause: GivenUpCause,
        failure: SyncFailure,
    },
}

impl LegStage {
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::GivenUp { .. })
    }
}

/// What a leg had begun when its chain was superseded. Which parts there are, and whether they are an object by now, the cloud knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<OpenedSession>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<StartedUpload>,
}

impl Begun {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a cloud has of a recording, as it was when it was called synced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pushed {
    /// With a cloud that opened one.
    pub session: Option<OpenedSession>,
    pub object: FinishedObject,
}

impl Leg {
    /// None while it is not all there.
    pub fn pushed(&self) -> Option<Pushed> {
        self.has().filter(|_| self.stage == LegStage::Done)
    }

    /// What is there, whether or not all is done.
    pub(super) fn has(&self) -> Option<Pushed> {
        let object = self.object.clone()?;
        Some(Pushed { session: self.session.clone(), object })
    }

    pub(super) fn going_on(begun: Option<&Begun>) -> Self {
        let begun = begun.cloned().unwrap_or_default();
        Self { session: begun.session, upload: begun.upload, ..Self::default() }
    }

    /// What a cloud may have of it that is not completed.
    pub fn begun(&self) -> Begun {
        // How often the gateway ended one, is counted anew.
        let session = self.session.clone().map(|session| OpenedSession { restarts: 0, ..session });
        Begun { session, upload: self.upload.clone() }
    }
}

/// A session of the data platform's gateway: it says where the recording goes, and lets its bytes in. What lets them in is never kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedSession {
    /// The device of the data platform whose recording it is.
    pub asset_id: String,
    /// As the gateway names it, also where another one took its place.
    pub logical_upload_id: String,
    /// As the gateway names what is uploaded in it.
    pub session_id: String,
    pub bucket: String,
    pub object_key: String,
    pub part_bytes: u64,
    /// Sessions that it took the place of.
    pub restarts: u32,
}

/// A multipart upload in the cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartedUpload {
    pub bucket: String,
    pub object_key: String,
    pub upload_id: String,
    pub part_bytes: u64,
    /// Of the object in the edge storage, all parts of which are of one version.
    pub source_etag: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedPart {
    pub number: u32,
    pub etag: String,
    /// SHA-256 of what was sent, in base64.
    pub sha256: String,
}

/// What is in the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedObject {
    pub bucket: String,
    pub object_key: String,
    pub etag: String,
    pub size_bytes: u64,
    /// By which it was seen to be what was sent: the words of [`Proof`].
    pub proof: Proof,
    /// As the cloud tells it, where it does: of the whole object, or of its parts and then with their number.
    pub checksum: Option<String>,
}

words! {
    /// How it is known that what is in the cloud is what was sent.
    Proof {
        /// The cloud computed the SHA-256 of all of it.
        Sha256 = "sha256",
        /// The same of each part, and of these.
        Sha256OfParts = "sha256_of_parts",
        /// The cloud keeps no checksums: its entity tags of the parts are those of what was sent.
        EtagOfParts = "etag_of_parts",
    }
}
