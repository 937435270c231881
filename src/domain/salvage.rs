//! What is left of a damaged recording once its good ranges were written to a file of their own, and what is not in it.
//!
//! It stands with an episode and in the derived file itself, so it is bounded as facts are.

use serde::{Deserialize, Serialize};

use super::measurement::{Finding, Listed, NotMeasured};

/// Which code salvaged. It moves when the same bytes give another file.
pub const VERSION: u32 = 1;

/// Ranges that are told; of more, how many.
pub const RANGES_MAX: usize = 50;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvaged {
    /// [`VERSION`] of the code that salvaged.
    pub made_by: u32,
    pub parent_sha256: String,
    pub parent_size_bytes: u64,
    /// Of the derived file.
    pub sha256: String,
    pub size_bytes: u64,
    pub messages_kept: u64,
    /// Chunks of the parent of which everything is kept.
    pub chunks_kept: u64,
    /// Those of which some records are.
    pub chunks_in_part: u64,
    pub chunks_lost: u64,
    pub attachments_kept: u64,
    pub metadata_kept: u64,
    /// Of the parent, within which lies what damage cost; a byte counts once.
    #[serde(default)]
    pub missing_bytes: u64,
    /// Damage that cost something; what only a summary or an index had wrong is put right, and not told here.
    pub missing: Listed<Finding>,
    /// What is not kept though nothing says that it is damaged.
    pub left_out: Listed<NotMeasured>,
    /// What lies between what is missing, in the order of the file.
    pub ranges: Listed<GoodRange>,
}

/// Messages without damage between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoodRange {
    /// Where it lies in the parent.
    pub at: u64,
    pub bytes: u64,
    /// The earliest and the latest log time.
    pub from_ns: u64,
    pub to_ns: u64,
    pub messages: u64,
}
