//! What did not end well, and why nobody tries any more.

use serde::{Deserialize, Serialize};

use super::super::words::words;

words! {
    /// Why an attempt did not end well, by its cause.
    SyncFault {
        NotApproved = "not_approved",
        Recalled = "recalled",
        /// There is no such object in the edge storage.
        SourceGone = "source_gone",
        /// It is another object than the one that was verified.
        SourceChanged = "source_changed",
        /// The edge storage does not answer.
        EdgeStorage = "edge_storage",
        /// The cloud does not answer, or says that it cannot at the moment.
        CloudAway = "cloud_away",
        /// The cloud does not let us in.
        CloudDenied = "cloud_denied",
        /// The cloud refuses what was asked.
        CloudRefused = "cloud_refused",
        /// What is there is not what was sent.
        Damaged = "damaged",
        /// The service that is told of new episodes refused this one.
        ReceiverRefused = "receiver_refused",
        /// The configuration of the data platform is missing, wrong, or cannot be read.
        CloudUnconfigured = "cloud_unconfigured",
        /// The robot is bound to no device of the data platform, or to one that it does not know.
        NoAsset = "no_asset",
        /// What is told of the recording contradicts itself, or cannot be read.
        TagsRefused = "tags_refused",
        /// A mistake of ours; the log of the server has it.
        Internal = "internal",
    }

    /// Why nobody tries any more.
    GivenUpCause {
        /// The episode may not be there any more.
        NotEligible = "not_eligible",
        /// Another try cannot help.
        Permanent = "permanent",
        /// It was tried for as long as it may be.
        Deadline = "deadline",
        /// It was tried as often as it may be.
        Attempts = "attempts",
        /// A person asked anew.
        Superseded = "superseded",
    }
}

/// Characters that are kept of an error. No body of another server is among them.
pub const ERROR_CHARS_MAX: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncFailure {
    pub fault: SyncFault,
    /// At most [`ERROR_CHARS_MAX`] characters.
    pub text: String,
}

impl SyncFailure {
    pub fn new(fault: SyncFault, text: impl AsRef<str>) -> Self {
        Self { fault, text: text.as_ref().chars().take(ERROR_CHARS_MAX).collect() }
    }
}
