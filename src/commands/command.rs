//! What a change is asked with.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::CommandError;
use super::work::Work;
use crate::domain::RefusalCode;

/// A change that is asked for.
pub trait Command: Send + Sync {
    /// What the one who asked is told after the commit. Kept where the request may be repeated.
    type Answer: Send + Serialize + DeserializeOwned;
    /// For logs and metrics.
    const NAME: &'static str;
    /// A refusal that means a race was lost, because the command itself chose what was taken meanwhile. It is run again.
    const LOST_RACE: Option<RefusalCode> = None;

    /// Loads, decides, and buffers events in `work`. May run several times; the last run is the one that counts.
    fn run(&self, work: &mut Work) -> impl Future<Output = Result<Self::Answer, CommandError>> + Send;

    /// The same of this very command, where one type has several kinds.
    fn name(&self) -> &'static str {
        Self::NAME
    }
}
