//! Words of closed lists, as they stand in bodies, queries and answers: the description has them from the lists that the
//! code goes by.

use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::auth::Role;
use super::export::EventsFormat;
use super::exported::ExportFormat;
use super::fields::{described_as, field};
use crate::commands::webhooks::AttemptOutcome;
use crate::devices::recent::Direction;
use crate::domain::AccountRole;
use crate::domain::access::{AccessKind, LoginMethod};
use crate::domain::account::AccountStatus;
use crate::domain::alert::{AlertName, AlertSeverity, AlertState};
use crate::domain::batch::BatchStatus;
use crate::domain::bulk_run::{BulkAction, ItemOutcome};
use crate::domain::device::LinkKind;
use crate::domain::episode::{
    CopyFault, CopyPlace, Decision, DecisionEffect, EdgeCopyStatus, InspectionCause, Level, LookDepth, QaStatus, RunMode, SalvageFault,
    SalvageState, SyncStatus,
};
use crate::domain::figures::{Against, Measure};
use crate::domain::gaps::GapCause;
use crate::domain::inspector::InspectorStatus;
use crate::domain::judgement::{Grade, Part, Severity, Verdict};
use crate::domain::letter::{DeadReason, Resolution};
use crate::domain::measurement::FindingKind;
use crate::domain::operator_word::{Demonstration, WordVerdict};
use crate::domain::order::{OrderStatus, Priority};
use crate::domain::outside_job::{JobState, NotDoneCause};
use crate::domain::qa_suite::{ScopeKind, SuiteState};
use crate::domain::recorder::{RecorderAction, RecorderState};
use crate::domain::registry::{CollectorStatus, RobotStatus};
use crate::domain::request::RequestStatus;
use crate::domain::station::StationStatus;
use crate::domain::subscription::{BackoffKind, DeliveryOrder, EndCause, Jitter, PauseCause, SubscriptionState};
use crate::domain::sync::{CloudName, GivenUpCause, SyncFault, SyncReason};
use crate::domain::task::TaskStatus;
use crate::domain::template::TemplateFile;
use crate::domain::words::UnknownWord;
use crate::projections::reads::buckets::Granularity;
use crate::projections::reads::counted_groups::CountedBy;
use crate::projections::reads::counted_records::{SortOrder, SortedBy};
use crate::projections::reads::events::Direction as LogDirection;
use crate::projections::reads::inspection::QueueOrder;
use crate::projections::reads::quality_dashboard::JudgedBy;
use crate::projections::rows::device::CommandStatus;

/// A closed list.
pub trait Listed: FromStr<Err = UnknownWord> {
    fn words() -> impl Iterator<Item = &'static str>;
}

/// A word of such a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<'de, T: Listed> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl<T: Listed> PartialSchema for Word<T> {
    fn schema() -> RefOr<Schema> {
        described_as(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(T::words())))
    }
}
field!(Word<T>, T: Listed);

macro_rules! listed {
    ($($word:ident = $kind:ident,)+) => {$(
        impl Listed for $kind {
            fn words() -> impl Iterator<Item = &'static str> {
                $kind::ALL.iter().map(|value| value.as_str())
            }
        }
        pub type $word = Word<$kind>;
    )+};
}

listed! {
    AccountRoleWord = AccountRole,
    AccountStatusWord = AccountStatus,
    AccessKindWord = AccessKind,
    LoginMethodWord = LoginMethod,
    PriorityWord = Priority,
    OrderStatusWord = OrderStatus,
    BatchStatusWord = BatchStatus,
    TaskStatusWord = TaskStatus,
    QaStatusWord = QaStatus,
    RunModeWord = RunMode,
    SyncStatusWord = SyncStatus,
    CloudNameWord = CloudName,
    AlertWord = AlertName,
    AlertSeverityWord = AlertSeverity,
    AlertStateWord = AlertState,
    SyncReasonWord = SyncReason,
    CopyPlaceWord = CopyPlace,
    EdgeCopyStatusWord = EdgeCopyStatus,
    LookDepthWord = LookDepth,
    CopyFaultWord = CopyFault,
    SyncFaultWord = SyncFault,
    GivenUpCauseWord = GivenUpCause,
    GradeWord = Grade,
    GapCauseWord = GapCause,
    FindingKindWord = FindingKind,
    SalvageStateWord = SalvageState,
    SalvageFaultWord = SalvageFault,
    MeasureWord = Measure,
    AgainstWord = Against,
    VerdictWord = Verdict,
    PartWord = Part,
    SeverityWord = Severity,
    JobStateWord = JobState,
    NotDoneCauseWord = NotDoneCause,
    LevelWord = Level,
    DecisionWord = Decision,
    OperatorVerdictWord = WordVerdict,
    DemonstrationWord = Demonstration,
    DecisionEffectWord = DecisionEffect,
    InspectionCauseWord = InspectionCause,
    InspectorStatusWord = InspectorStatus,
    QueueOrderWord = QueueOrder,
    ScopeKindWord = ScopeKind,
    SuiteStateWord = SuiteState,
    RobotStatusWord = RobotStatus,
    CollectorStatusWord = CollectorStatus,
    StationStatusWord = StationStatus,
    RecorderStateWord = RecorderState,
    RecorderActionWord = RecorderAction,
    LinkWord = LinkKind,
    TemplateFileWord = TemplateFile,
    DeadReasonWord = DeadReason,
    BulkActionWord = BulkAction,
    ItemOutcomeWord = ItemOutcome,
    ResolutionWord = Resolution,
    SubscriptionStateWord = SubscriptionState,
    PauseCauseWord = PauseCause,
    EndCauseWord = EndCause,
    BackoffWord = BackoffKind,
    JitterWord = Jitter,
    DeliveryOrderWord = DeliveryOrder,
    AttemptOutcomeWord = AttemptOutcome,
    RoleWord = Role,
    RequestStatusWord = RequestStatus,
    CommandStatusWord = CommandStatus,
    DirectionWord = Direction,
    DirectionOfLogWord = LogDirection,
    ExportFormatWord = ExportFormat,
    EventsFormatWord = EventsFormat,
    GranularityWord = Granularity,
    CountedByWord = CountedBy,
    JudgedByWord = JudgedBy,
    SortedByWord = SortedBy,
    SortOrderWord = SortOrder,
}

/// What a recorder was seen doing, or that it told nothing yet.
#[derive(Clone, Copy, Debug)]
pub struct SeenStateWord;

impl PartialSchema for SeenStateWord {
    fn schema() -> RefOr<Schema> {
        described_as(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(RecorderState::words().chain(["unknown"]))))
    }
}
field!(SeenStateWord);

/// Lists that only the edge knows.
macro_rules! words {
    ($($name:ident = $($word:literal)|+;)+) => {$(
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                described_as(ObjectBuilder::new().schema_type(Type::String).enum_values(Some([$($word),+])))
            }
        }
        field!($name);
    )+};
}

words! {
    TokenTypeWord = "Bearer";
    CancelledWord = "cancelled";
    EndedWord = "cancelled" | "recalled";
    MovedWord = "in_progress" | "unknown";
    AcknowledgedWord = "acknowledged";
    SentWord = "sent";
    DimensionWord = "scene" | "sop";
    SuccessWord = "success";
    EpisodeWord = "episode";
    EpisodeFileWord = "mcap" | "sidecar";
    RequestKindWord = "device_command";
    AbandonedOutcomeWord = "succeeded" | "refused" | "not_sent";
    HealthWord = "healthy" | "unhealthy";
    BulkStatusWord = "queued" | "running" | "cancel_requested" | "completed" | "canceled" | "failed";
    LetterActWord = "delivery_died" | "dead_letter_replayed" | "dead_letter_resolved";
    AnswerWord = "rpc_response";
    OutsideResultWord = "pass" | "warn" | "fail" | "not_applicable";
    PreviewWord = "preview";
    BulkEpisodeActionWord = "bulk_qa" | "bulk_sync" | "bulk_cleanup" | "apply_suite";
    SkipWord = "other_suite" | "not_measured" | "qa_running" | "qa_not_approved" | "recalled" | "already_synced" | "sync_active" | "unsupported_sync_status" | "not_synced" | "edge_copy_gone" | "damaged_in_cloud";
}
