//! How episodes stand, who has them judged, and who may decide.

use crate::domain::judgement::Verdict;
use crate::domain::words::words;

words! {
    /// How the episode stands with quality checks.
    QaStatus {
        /// Not checked yet.
        PendingQa = "pending_qa",
        QaRunning = "qa_running",
        Approved = "approved",
        /// A person has to look at it.
        NeedsInspection = "needs_inspection",
        InspectorApproved = "inspector_approved",
        Rejected = "rejected",
        Failed = "failed",
    }

    /// What an inspector may decide.
    Level {
        /// What only warnings hold back.
        Level1 = "level_1",
        /// And what failed checks that are no gates.
        Level2 = "level_2",
        /// And what broke a gate, what was reopened, and what two disagree about.
        Senior = "senior",
    }

    /// Who wants a run: the arrival of a recording, a person, or a person who applies a suite to what was judged before.
    RunMode {
        Auto = "auto",
        Manual = "manual",
        Apply = "apply",
    }
}

impl QaStatus {
    /// No run changes it.
    pub fn is_protected(self) -> bool {
        match self {
            Self::NeedsInspection | Self::InspectorApproved | Self::Rejected => true,
            Self::PendingQa | Self::QaRunning | Self::Approved | Self::Failed => false,
        }
    }

    /// It may go to the cloud.
    pub fn is_approved(self) -> bool {
        matches!(self, Self::Approved | Self::InspectorApproved)
    }
}

impl From<Verdict> for QaStatus {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Approved => Self::Approved,
            Verdict::NeedsInspection => Self::NeedsInspection,
            Verdict::Failed => Self::Failed,
        }
    }
}
