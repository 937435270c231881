//! Tasks: one recording each, from dispatch to a verified upload.
//!
//! ```text
//!  pending ──► ready ──► in_progress ──► uploading ──► completed
//!     └──────────┴────────────┴──────────────┘   (verified upload: from any of the four)
//!  pending ──► completed                         (a collector says it was done without Axon)
//!                        in_progress | uploading ──► failed     (device gave up)
//!  pending | ready | in_progress | uploading ──► failed          (a person ends it)
//!               ready | in_progress ──► pending                 (device dropped it, or forgot it)
//!                           uploading ──► pending                 (there is no file, and none was ever seen)
//!                           uploading ──► in_progress             (its recorder is seen recording it after all)
//!     pending | ready | in_progress ──► cancelled               (with its batch, or its order)
//!  all but uploading and completed ──► deleted
//! ```
//!
//! `tests::MOVES` has every command in every state.
//!
//! A callback can be posted by anybody who reaches us: it moves what was configured, and nothing else.
//!
//! Devices repeat themselves, speak late and out of order. A witness of something
//! that is already known changes nothing; one that comes too late for the present
//! stage is noted, with what was concluded from it.

mod command;
mod decide;
mod event;
mod evolve;
mod refusal;
mod seen;
mod state;
mod status;
#[cfg(test)]
pub(super) mod tests;
mod upload;
mod witness;

pub use command::TaskCommand;
pub use event::TaskEvent;
pub use refusal::TaskRefusal;
pub use seen::{with_the_task, without_the_task};
pub use state::{Awaited, Brief, Dispatched, KeptFile, RefusedWrite, Stage, Task};
pub use status::TaskStatus;
pub use upload::{CLAIMING, DAMAGED_UPLOAD_WANTED, Damage, RELEASING, Rejection, Upload, UploadReport, Verdict, VerifiedUpload};
pub use witness::{Disposition, FinishReport, Witness};

use super::Aggregate;

impl Aggregate for Task {
    const TYPE: &'static str = "task";
    type Command = TaskCommand;
    type Event = TaskEvent;
    type Refusal = TaskRefusal;

    fn decide(&self, command: TaskCommand) -> Result<Vec<TaskEvent>, TaskRefusal> {
        decide::decide(self, command)
    }

    fn evolve(&mut self, event: &TaskEvent) {
        evolve::evolve(self, event);
    }
}
