//! Clouds that recordings are pushed to: what each is asked, in its own protocol, and what its answers mean.
//!
//! A cloud pushes one leg of one chain ([`Cloud::push`]). What it has done so far, it writes into a [`Journal`] step by step, and from there it
//! goes on: after a cut, a restart, or in another process. It decides nothing about episodes: whether something may become an object, it asks the
//! journal.
//!
//! - [`s3`]: a bucket of an S3 server, and the service that is told of what arrived there.
//! - [`gateway`]: the gateway of the data platform, and its object store.
//! - [`platform`]: the configuration of the data platform, with the devices that it knows.
//! - [`store`]: what any store of objects is asked, and [`parts`]: how recordings are sent to one, piece by piece.
//! - [`sidecar`]: the file beside a recording.
//! - [`content`]: a recording read back.
//! - [`pace`]: how many bytes are sent in a second, and [`room`]: how many are in memory.
//! - [`error`]: what did not go well, by its cause.
//! - [`answers`]: how servers are asked, and how much of an answer is read.

mod answers;
mod background;
pub mod content;
mod error;
pub mod gateway;
mod pace;
mod parts;
pub mod platform;
mod room;
pub mod s3;
mod sidecar;
mod store;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::error::{NotNoted, PushError, PushResult};
pub use self::pace::Pace;
pub use self::room::Room;
use crate::blobs::{Blobs, ObjectKey};
use crate::domain::episode::{Created, InCloud};
use crate::domain::sync::{Chain, CloudName, FinishedObject, FinishedPart, OpenedSession, Pushed, StartedUpload};

/// What is pushed, and from where.
pub struct Push<'a> {
    pub chain: &'a Chain,
    pub created: &'a Created,
    /// What was there before this chain.
    pub before: Option<&'a InCloud>,
    pub blobs: &'a Blobs,
    /// Of the recording, in the edge storage.
    pub source: ObjectKey,
    pub sidecar: Option<ObjectKey>,
    /// How the episode came to be, signed; none where the site has no key.
    pub certificate: Option<Bytes>,
    /// What the registry knows of it at this moment; none where the cloud is not told.
    pub registered: Option<Registered>,
}

/// What the data platform is told of an episode.
pub struct Registered {
    pub asset: Asset,
    /// By the names of the tags.
    pub tags: Vec<(&'static str, Option<String>)>,
}

/// The device of the data platform whose recording it is.
pub enum Asset {
    Bound(String),
    /// The robot is known, and bound to none.
    Unbound,
    /// Neither a robot is known, nor what it was bound to.
    Unknown,
}

/// Where a cloud says what it has done. What is refused there, because another worker has the leg or the chain is over, ends the push.
#[async_trait]
pub trait Journal: Send + Sync {
    async fn session_opened(&self, session: &OpenedSession) -> Result<(), NotNoted>;
    async fn upload_started(&self, upload: &StartedUpload) -> Result<(), NotNoted>;
    async fn parts_finished(&self, upload_id: &str, parts: Vec<FinishedPart>) -> Result<(), NotNoted>;
    async fn object_finished(&self, object: &FinishedObject) -> Result<(), NotNoted>;
    /// The service that is told of new episodes has heard of it, or the gateway has completed it.
    async fn service_told(&self) -> Result<(), NotNoted>;
    /// Whether what was uploaded may become an object: asked right before.
    async fn may_complete(&self) -> Result<(), NotNoted>;
    /// How many bytes of the recording are there. No step: it is told every now and then.
    async fn progress(&self, done: u64);
}

/// What lies in a cloud of an episode that may not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftBehind {
    /// The recording, as far as that can be seen.
    Object(FinishedObject),
    /// An object of its size, and nothing is known that it could be compared with.
    Unproven { object_key: String },
}

/// How a copy is found that was pushed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is what it was, as far as that can be seen without its bytes.
    Sound,
    /// It is another one, or gone: in words.
    Damaged(String),
    /// The cloud does not say: in words.
    Untold(String),
}

#[async_trait]
pub trait Cloud: Send + Sync + 'static {
    fn name(&self) -> CloudName;
    /// Whether it takes anything at all, by one cheap request.
    async fn probe(&self) -> PushResult<()>;
    /// Goes on from what the chain says was done. Answers the object that arrived, where that is to be noted together with the end.
    async fn push(&self, push: &Push<'_>, journal: &dyn Journal) -> PushResult<Option<FinishedObject>>;
    /// Gives up what was begun for a chain that is over because its episode may not be there. Answers what is there all the same: it was completed
    /// before that. Whether the recording is still in the edge storage does not matter.
    async fn take_back(&self, push: &Push<'_>) -> PushResult<Option<LeftBehind>>;
    /// Looks at what was pushed before.
    async fn look(&self, pushed: &Pushed) -> PushResult<Found>;
    /// These bytes of what was pushed before. Only of a cloud that gives recordings back ([`CloudName::gives_back`]).
    async fn read(&self, pushed: &Pushed, range: Range<u64>) -> PushResult<Bytes>;
}
