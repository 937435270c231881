//! Refusals: the codes under which a rule says no.

use std::fmt;

use serde_json::Value;

/// What kind of no it is. The edges know which status goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request itself is wrong.
    Invalid,
    NotFound,
    /// It does not fit what is there now.
    Conflict,
    /// It was there, and was taken away.
    Gone,
    Forbidden,
    /// It contradicts what the same caller said before.
    Unprocessable,
}

/// What an aggregate answers instead of events.
pub trait Refused: std::error::Error + Send + Sync + 'static {
    fn code(&self) -> RefusalCode;
    /// An object of values the caller needs, beside the text.
    fn values(&self) -> Value {
        Value::Null
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $kind:ident $(, made by $makers:expr)?;)+) => {
        /// Which rule says no, as a word for programs. Each stands in `docs/problems.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RefusalCode { $($name),+ }

        impl RefusalCode {
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            pub fn kind(self) -> RefusalKind {
                match self { $(Self::$name => RefusalKind::$kind),+ }
            }

            /// The events that can have made the state it is about; none named: any.
            pub fn made_by(self) -> &'static [&'static str] {
                match self {
                    $($(Self::$name => $makers,)?)+
                    _ => &[],
                }
            }
        }
    };
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Events that change the status of an order.
const ORDER_STATUS: &[&str] =
    &["order_placed", "order_started", "order_paused", "order_resumed", "order_completed", "order_cancelled", "order_reopened"];
/// Events that change the status of a batch.
const BATCH_STATUS: &[&str] =
    &["batch_created", "batch_started", "batch_completed", "batch_cancelled", "batch_recalled", "batch_finalized", "batch_trimmed"];
/// Events that change how many tasks a batch has, or how many of them are settled.
const BATCH_TASKS: &[&str] = &["batch_created", "batch_adjusted", "batch_task_removed", "batch_task_settled", "batch_tasks_settled"];

codes! {
    AccountNotFound = "account_not_found", NotFound;
    ApiKeyNotFound = "api_key_not_found", NotFound;
    AssetTaken = "asset_taken", Conflict;
    BatchExists = "batch_exists", Conflict;
    BatchHasUploads = "batch_has_uploads", Conflict;
    BatchNotDeletable = "batch_not_deletable", Conflict, made by BATCH_STATUS;
    BatchNotFound = "batch_not_found", NotFound;
    BatchNotOpen = "batch_not_open", Conflict, made by BATCH_STATUS;
    BatchNotRecallable = "batch_not_recallable", Conflict, made by BATCH_STATUS;
    BulkCountMoved = "bulk_count_moved", Conflict;
    BulkRunActive = "bulk_run_active", Conflict;
    BulkRunExists = "bulk_run_exists", Conflict;
    BulkRunFinished = "bulk_run_finished", Conflict, made by &["bulk_run_ended"];
    BulkRunNotFound = "bulk_run_not_found", NotFound;
    CommandExists = "command_exists", Conflict;
    ConfigChanged = "config_changed", Conflict, made by &["auto_scan_switched", "cloud_paused", "cloud_resumed"];
    CopyUnknown = "copy_unknown", NotFound;
    DataCollectorAlreadyAssigned = "data_collector_already_assigned", Conflict;
    DataCollectorNotActive = "data_collector_not_active", Invalid;
    DataCollectorNotFound = "data_collector_not_found", Invalid;
    DeviceContested = "device_contested", Conflict;
    DeviceNotFound = "device_not_found", NotFound;
    EdgeCopyBusy = "edge_copy_busy", Conflict, made by &["edge_copy_removal_requested", "edge_copy_restore_requested"];
    EdgeCopyDamaged = "edge_copy_damaged", Conflict, made by &["copy_found_damaged"];
    EdgeCopyGone = "edge_copy_gone", Gone, made by &["edge_copy_removal_requested", "edge_copy_removed"];
    EdgeCopyNeeded = "edge_copy_needed", Conflict;
    EntryExists = "entry_exists", Conflict;
    EntryInUse = "entry_in_use", Conflict;
    EntryNotFound = "not_found", NotFound;
    EpisodeExists = "episode_exists", Conflict;
    EpisodeInspected = "episode_inspected", Conflict, made by &["inspection_decided", "inspection_reopened"];
    EpisodeNotFailed = "episode_not_failed", Conflict, made by &["qa_run_ended", "inspection_decided", "inspection_reopened", "operator_word_heard"];
    EpisodeNotFound = "episode_not_found", NotFound;
    FactoryMismatch = "factory_mismatch", Invalid;
    FactoryNotFound = "factory_not_found", NotFound;
    HandshakeOver = "handshake_over", Conflict;
    IdempotencyKeyReused = "idempotency_key_reused", Unprocessable;
    InspectionDecidedBefore = "inspection_decided_before", Conflict;
    InspectionNotTaken = "inspection_not_taken", Conflict;
    InspectionTaken = "inspection_taken", Conflict, made by &["inspection_taken"];
    InspectorLevel = "inspector_level", Forbidden;
    InspectorNotFound = "inspector_not_found", NotFound;
    LabelOfRule = "label_of_rule", Conflict;
    LetterDelivered = "letter_delivered", Conflict, made by &["dead_letter_replayed"];
    LetterInFlight = "letter_in_flight", Conflict, made by &["dead_letter_replayed"];
    LetterNotFound = "letter_not_found", NotFound;
    LetterResolved = "letter_resolved", Conflict, made by &["dead_letter_resolved"];
    LetterTooDeep = "letter_too_deep", Conflict;
    LetterUnresolved = "letter_unresolved", Conflict;
    LettersNotSelected = "letters_not_selected", Invalid;
    NameTaken = "name_taken", Invalid;
    NoCurrentWorkstation = "no_current_workstation", NotFound;
    NotPendingQa = "not_pending_qa", Conflict, made by &["qa_run_ended"];
    NotStorable = "not_storable", Invalid;
    NotYourWorkstation = "not_your_workstation", Forbidden;
    NothingToInspect = "nothing_to_inspect", Conflict;
    NothingToReopen = "nothing_to_reopen", Conflict;
    NothingToRestore = "nothing_to_restore", Conflict;
    NothingToSalvage = "nothing_to_salvage", Conflict;
    NothingToVerify = "nothing_to_verify", Conflict;
    ObjectBelongsToAnotherEpisode = "object_belongs_to_another_episode", Conflict;
    OrderExists = "order_exists", Conflict;
    OrderHasBatches = "order_has_batches", Invalid, made by &["order_tasks_dispatched"];
    OrderHasTasks = "order_has_tasks", Invalid, made by &["order_tasks_dispatched"];
    OrderNotFound = "order_not_found", NotFound;
    OrderNotOpen = "order_not_open", Conflict, made by ORDER_STATUS;
    OrderStatusNotReachable = "order_status_not_reachable", Conflict, made by ORDER_STATUS;
    OrderStatusUnknown = "order_status_unknown", Invalid;
    OrganizationMismatch = "organization_mismatch", Invalid;
    OrganizationNotFound = "organization_not_found", Invalid;
    OtherUpload = "other_upload", Conflict;
    OutsideClaimLost = "outside_claim_lost", Conflict, made by &["outside_job_claimed"];
    OutsideJobExists = "outside_job_exists", Conflict;
    OutsideJobNotFound = "outside_job_not_found", NotFound;
    OutsideJobOver = "outside_job_over", Conflict, made by &["outside_job_reported", "outside_job_not_done"];
    OutsideResultDiffers = "outside_result_differs", Conflict, made by &["outside_job_reported"];
    OutsideScope = "outside_scope", Forbidden;
    QaRunLost = "qa_run_lost", Conflict;
    QaRunning = "qa_running", Conflict, made by &["qa_run_started", "qa_run_waits"];
    QuantityBelowLocked = "quantity_below_locked", Invalid, made by BATCH_TASKS;
    QuantityExceedsBatch = "quantity_exceeds_batch", Invalid, made by BATCH_TASKS;
    QuantityExceedsPending = "quantity_exceeds_pending", Invalid, made by BATCH_TASKS;
    QuantityInvalid = "quantity_invalid", Invalid;
    QuotaExceeded = "quota_exceeded", Invalid, made by &["order_placed", "order_revised", "order_tasks_dispatched", "order_tasks_removed"];
    RecorderBusy = "recorder_busy", Conflict;
    RecorderNotConnected = "recorder_not_connected", NotFound;
    RecorderStateSyncing = "recorder_state_syncing", Conflict;
    ReferenceExists = "reference_exists", Conflict;
    ReferenceTooFew = "reference_too_few", Conflict;
    ReplayEmpty = "replay_empty", Invalid;
    ReplaysTooMany = "replays_too_many", Conflict, made by &["subscription_replay_requested"];
    RobotAlreadyAssigned = "robot_already_assigned", Conflict;
    RobotNotActive = "robot_not_active", Invalid;
    RobotNotFound = "robot_not_found", NotFound;
    RobotRetired = "robot_retired", Conflict, made by &["robot_retired", "robot_changed"];
    RobotTypeNotFound = "robot_type_not_found", NotFound;
    SalvageUnderWay = "salvage_under_way", Conflict, made by &["salvage_requested"];
    SceneNotFound = "scene_not_found", Invalid;
    SkillNotFound = "skill_not_found", Invalid;
    SopNotFound = "sop_not_found", Invalid;
    StationExists = "station_exists", Conflict;
    StationHasBatches = "station_has_batches", Conflict;
    StationNotFound = "station_not_found", NotFound;
    StationOffline = "station_offline", Conflict, made by &["station_bound", "station_status_changed"];
    SubsceneNotFound = "subscene_not_found", Invalid;
    SubsceneOfOtherScene = "subscene_of_other_scene", Invalid;
    SubscriptionEnded = "subscription_ended", Conflict, made by &["subscription_ended"];
    SubscriptionExists = "subscription_exists", Conflict;
    SubscriptionInvalid = "subscription_invalid", Invalid;
    SubscriptionNotFound = "subscription_not_found", NotFound;
    SubscriptionPaused = "subscription_paused", Conflict, made by &["subscription_paused"];
    SubscriptionPolled = "subscription_polled", Conflict, made by &["subscription_created"];
    SubscriptionsTooMany = "subscriptions_too_many", Conflict;
    SuiteActivatedMeanwhile = "suite_activated_meanwhile", Conflict;
    SuiteExists = "suite_exists", Conflict;
    SuiteNotActive = "suite_not_active", Conflict;
    SuiteNotADraft = "suite_not_a_draft", Conflict, made by &["suite_activated", "suite_retired"];
    SessionNotFound = "session_not_found", NotFound;
    SuiteNotFound = "suite_not_found", NotFound;
    SuiteUnfit = "suite_unfit", Invalid;
    SyncActive = "sync_active", Conflict, made by &["sync_queued", "sync_claimed"];
    SyncChainExists = "sync_chain_exists", Conflict;
    SyncChainNotFound = "sync_chain_not_found", NotFound;
    SyncChainOver = "sync_chain_over", Conflict, made by &["sync_completed", "sync_given_up"];
    SyncClaimLost = "sync_claim_lost", Conflict, made by &["sync_claimed"];
    SyncNeverDone = "sync_never_done", Invalid;
    SyncNotApproved = "sync_not_approved", Invalid, made by &["qa_run_ended", "inspection_decided", "inspection_reopened", "operator_word_heard"];
    SyncRecalled = "sync_recalled", Conflict, made by &["episode_labelled"];
    SyncedAlready = "synced_already", Conflict, made by &["episode_synced"];
    TargetBelowCompleted = "target_below_completed", Invalid, made by &["order_task_settled", "order_tasks_settled"];
    TargetCountInvalid = "target_count_invalid", Invalid;
    TaskEnded = "task_ended", Conflict;
    TaskExists = "task_exists", Conflict;
    TaskGroupNotFound = "task_group_not_found", NotFound;
    TaskGroupRepeated = "task_group_repeated", Invalid;
    TaskGroupsEmpty = "task_groups_empty", Invalid;
    TaskNotBeginable = "task_not_beginable", Conflict;
    TaskNotConfigurable = "task_not_configurable", Conflict;
    TaskNotConfigured = "task_not_configured", Conflict;
    TaskNotDeletable = "task_not_deletable", Conflict;
    TaskNotFound = "task_not_found", NotFound;
    TaskNotOwned = "task_not_owned", Conflict;
    TaskNotPending = "task_not_pending", Conflict;
    TaskNotRecorded = "task_not_recorded", Conflict;
    TaskReplaced = "task_replaced", Conflict, made by &["operator_word_given"];
    TemplateBlank = "template_blank", Invalid;
    TemplateTooLarge = "template_too_large", Invalid;
    TemplateWithSecret = "template_with_secret", Invalid;
    TooManyTasks = "too_many_tasks", Invalid;
    TransferNotConnected = "transfer_not_connected", Conflict;
    UploadNotRejected = "upload_not_rejected", Conflict;
    VersionFixed = "version_fixed", Invalid;
    WorkstationNotFound = "workstation_not_found", Invalid;
    WorkstationSuperseded = "workstation_superseded", Invalid;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::Event;
    use crate::domain::kinds::{EachKind, Listed, each_kind};

    #[test]
    fn only_events_that_exist_are_named_as_reasons() {
        struct Known(BTreeSet<&'static str>);
        impl EachKind for Known {
            fn kind<A: Listed>(&mut self) {
                self.0.extend(A::Event::types().into_iter().map(|(name, _)| name));
            }
        }
        let mut known = Known(BTreeSet::new());
        each_kind(&mut known);
        for code in RefusalCode::ALL {
            let unknown: Vec<_> = code.made_by().iter().filter(|event| !known.0.contains(**event)).collect();
            assert!(unknown.is_empty(), "{code}: {unknown:?}");
        }
    }
}
