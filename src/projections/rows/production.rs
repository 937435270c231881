//! Rows of production units.

use serde_json::Value;

use super::gap::{RecordingGapRow, gap_rows};
use super::salvage::{SalvageRow, salvage_row};
use super::table::table;
use super::{Head, ReadModel, RowWrite, Shown, TableName};
use crate::domain::batch::{Batch, BatchStatus};
use crate::domain::episode::{
    CopyPlace, Decision, DecisionEffect, EdgeCopyStatus, EndedRun, Episode, EpisodeEvent, InspectionCause, QaStatus, RunMode, TellingCheck,
};
use crate::domain::judgement::Verdict;
use crate::domain::operator_word::OperatorWord;
use crate::domain::order::{Order, OrderStatus, Priority};
use crate::domain::task::{KeptFile, Stage, Task, TaskStatus, Upload};
use crate::domain::{
    BatchId, EpisodeId, FactoryId, InspectorId, OrderId, OrganizationId, PublicTaskId, QaReferenceId, SceneId, SopId, StationId,
    SubsceneId, TaskId, Timestamp,
};
use crate::eventstore::StoreError;
use crate::projections::packed_facts::PackedFacts;
use crate::projections::rows::Table as _;
use crate::projections::sql_types::Count;

table! {
    OrderRow in "orders" by number OrderId {
        organization_id: OrganizationId,
        scene_id: SceneId,
        name: String,
        target_count: i64,
        priority: Priority,
        deadline: Option<Timestamp>,
        metadata: Option<Value>,
        status: OrderStatus,
        task_count: i64,
        completed_count: i64,
        failed_count: i64,
        cancelled_count: i64,
    }
    BatchRow in "batches" by number BatchId {
        batch_id: String,
        order_id: OrderId,
        station_id: StationId,
        organization_id: OrganizationId,
        notes: Option<String>,
        metadata: Option<Value>,
        status: BatchStatus,
        task_count: i64,
        completed_count: i64,
        failed_count: i64,
        cancelled_count: i64,
        episode_count: i64,
        started_at: Option<Timestamp>,
        ended_at: Option<Timestamp>,
    }
    TaskRow in "tasks" by number TaskId {
        task_id: PublicTaskId,
        batch_id: BatchId,
        order_id: OrderId,
        station_id: StationId,
        sop_id: SopId,
        scene_id: SceneId,
        scene_name: String,
        subscene_id: SubsceneId,
        subscene_name: String,
        factory_id: FactoryId,
        organization_id: OrganizationId,
        status: TaskStatus,
        error_message: Option<String>,
        ready_at: Option<Timestamp>,
        started_at: Option<Timestamp>,
        /// As devices and pages know it: also when the task failed, and not when it was cancelled.
        completed_at: Option<Timestamp>,
        episode_id: Option<EpisodeId>,
        ended_at: Option<Timestamp>,
        /// The last word of the operator on its recording.
        operator_word: Option<OperatorWord>,
        /// The task that is recorded in its place.
        replaced_by: Option<TaskId>;
        apart initial_scene_layout: String
    }
    EpisodeRow in "episodes" by number EpisodeId {
        episode_id: String,
        task_id: TaskId,
        task_public_id: PublicTaskId,
        batch_id: BatchId,
        order_id: OrderId,
        station_id: StationId,
        sop_id: SopId,
        scene_id: SceneId,
        scene_name: String,
        subscene_id: SubsceneId,
        subscene_name: String,
        factory_id: FactoryId,
        organization_id: OrganizationId,
        mcap_path: String,
        sidecar_path: Option<String>,
        checksum: String,
        file_size_bytes: Count,
        etag: Option<String>,
        duration_sec: Option<f64>,
        message_count: Count,
        metadata: Option<Value>,
        qa_status: QaStatus,
        qa_score: Option<f64>,
        quality_flag: Option<String>,
        auto_approved: bool,
        cloud_synced: bool,
        cloud_processed: bool,
        cloud_synced_at: Option<Timestamp>,
        /// Its key in the cloud.
        cloud_mcap_path: Option<String>,
        /// The copy in the edge storage.
        edge_copy: EdgeCopyStatus,
        /// It is not there, or is being taken away.
        edge_copy_gone: bool,
        edge_copy_at: Option<Timestamp>,
        edge_looked_at: Option<Timestamp>,
        /// Of its copies in clouds, the one that was looked at the longest time ago.
        cloud_looked_at: Option<Timestamp>,
        /// Those that were found damaged.
        damaged_copies: Vec<CopyPlace>,
        /// As long as it is approved.
        approved_at: Option<Timestamp>,
        labels: Vec<String>,
        note: Option<String>,
        /// The last word of the operator.
        operator_word: Option<OperatorWord>,
        latest_check: Option<TellingCheck>,
        verdict: Option<Verdict>,
        qa_until: Option<Timestamp>,
        /// Of the decision that the status comes from.
        inspector_id: Option<InspectorId>,
        inspection_decision: Option<Decision>,
        inspected_at: Option<Timestamp>,
        /// None where there is nothing to decide.
        inspection_cause: Option<InspectionCause>,
        /// Thousandths between the score and what would approve it.
        inspection_distance: Option<i64>,
        inspection_taken_by: Option<InspectorId>,
        inspection_until: Option<Timestamp>,
        /// Who decided since it was reopened, or ever.
        inspection_deciders: Vec<InspectorId>,
        /// A first decision waits for a second one.
        inspection_blind: bool,
    }
    EpisodeFactsRow in "episode_facts" by number EpisodeId {
        packed: PackedFacts,
    }
    InspectionDecisionRow in "inspection_decisions" by number i64 {
        episode_id: EpisodeId,
        inspector_id: InspectorId,
        decision: Decision,
        effect: DecisionEffect,
        reason: String,
        tags: Vec<String>,
        duration_sec: Option<f64>,
        /// Decisions of one round are about the same question: reopened, an episode has another one.
        round: i32,
        /// 0 is the first of its round.
        place: i32,
    }
    QaRunRow in "qa_runs" by number i64 {
        episode_id: EpisodeId,
        run: String,
        mode: RunMode,
        suite: String,
        suite_version: i32,
        reference_id: Option<QaReferenceId>,
        measured_by: i32,
        verdict: Verdict,
        kept: bool,
        score: f64,
        flag: Option<String>,
        parts: Value,
        checks: Value,
    }
}

impl ReadModel for Order {
    type Row = OrderRow;

    fn shown(state: &Self) -> Shown<OrderRow> {
        let Some(order) = state.placed() else { return Shown::Gone };
        let (terms, tally) = (order.terms.clone(), order.tally);
        Shown::Row(OrderRow {
            organization_id: terms.organization_id,
            scene_id: terms.scene_id,
            name: terms.name,
            target_count: terms.target_count,
            priority: terms.priority,
            deadline: terms.deadline,
            metadata: terms.metadata,
            status: order.status,
            task_count: tally.tasks,
            completed_count: tally.completed,
            failed_count: tally.failed,
            cancelled_count: tally.cancelled,
        })
    }
}

impl ReadModel for Batch {
    type Row = BatchRow;

    fn shown(state: &Self) -> Shown<BatchRow> {
        let Some(batch) = state.created() else { return Shown::Gone };
        let (brief, tally) = (batch.brief.clone(), batch.tally);
        Shown::Row(BatchRow {
            batch_id: brief.batch_id,
            order_id: brief.order_id,
            station_id: brief.station_id,
            organization_id: brief.organization_id,
            notes: brief.notes,
            metadata: brief.metadata,
            status: batch.status,
            task_count: tally.tasks,
            completed_count: tally.completed,
            failed_count: tally.failed,
            cancelled_count: tally.cancelled,
            episode_count: batch.episode_count,
            started_at: batch.started_at,
            ended_at: batch.ended_at,
        })
    }
}

impl ReadModel for Task {
    type Row = TaskRow;

    fn shown(state: &Self) -> Shown<TaskRow> {
        let Some(task) = state.dispatched() else { return Shown::Gone };
        let rejection = task.upload.as_ref().and_then(Upload::rejection);
        let (ended_at, error_message) = match &task.stage {
            Stage::Pending | Stage::Ready | Stage::InProgress => (None, None),
            Stage::Uploading(awaited) => (None, rejection.map(ToString::to_string).or_else(|| awaited.missing.clone())),
            Stage::Completed { at } | Stage::CompletedExternally { at, .. } | Stage::Cancelled { at } => (Some(*at), None),
            Stage::Failed { reason, at, kept } => {
                let where_it_is = |kept: &KeptFile| format!("{reason}; the robot keeps {} in its failed_uploads_dir", kept.file);
                let kept = kept.as_ref().filter(|_| task.upload.is_none());
                (Some(*at), Some(kept.map_or_else(|| reason.clone(), where_it_is)))
            }
        };
        let brief = task.brief.clone();
        Shown::Row(TaskRow {
            task_id: brief.task_id,
            batch_id: brief.batch_id,
            order_id: brief.order_id,
            station_id: brief.station_id,
            sop_id: brief.sop_id,
            scene_id: brief.scene_id,
            scene_name: brief.scene_name,
            subscene_id: brief.subscene_id,
            subscene_name: brief.subscene_name,
            initial_scene_layout: Some(brief.initial_scene_layout),
            factory_id: brief.factory_id,
            organization_id: brief.organization_id,
            status: task.stage.status(),
            error_message,
            ready_at: task.ready_at,
            started_at: task.started_at,
            completed_at: ended_at.filter(|_| !matches!(task.stage, Stage::Cancelled { .. })),
            episode_id: task.episode_id(),
            ended_at,
            operator_word: task.word.clone(),
            replaced_by: task.replaced_by,
        })
    }
}

impl ReadModel for Episode {
    type Row = EpisodeRow;
    const EVENT_TABLES: &'static [&'static TableName] =
        &[QaRunRow::NAME, EpisodeFactsRow::NAME, InspectionDecisionRow::NAME, RecordingGapRow::NAME, SalvageRow::NAME];

    fn shown(state: &Self) -> Shown<EpisodeRow> {
        let Episode::Known(episode) = state else { return Shown::Gone };
        let created = episode.created.clone();
        let settled = episode.inspection.decisions.last().filter(|last| last.effect == DecisionEffect::Settled);
        Shown::Row(EpisodeRow {
            episode_id: created.episode_id,
            task_id: created.task_id,
            task_public_id: created.public_task_id,
            batch_id: created.batch_id,
            order_id: created.order_id,
            station_id: created.station_id,
            sop_id: created.sop_id,
            scene_id: created.scene_id,
            scene_name: created.scene_name,
            subscene_id: created.subscene_id,
            subscene_name: created.subscene_name,
            factory_id: created.factory_id,
            organization_id: created.organization_id,
            mcap_path: created.mcap_path,
            sidecar_path: created.sidecar_path,
            checksum: created.checksum,
            file_size_bytes: Count(created.file_size_bytes),
            etag: episode.etag().cloned(),
            duration_sec: created.duration_sec,
            message_count: Count(created.message_count),
            metadata: created.metadata,
            qa_status: episode.qa.status(),
            qa_score: episode.qa.score,
            quality_flag: episode.qa.flag.clone(),
            auto_approved: episode.qa.auto_approved,
            cloud_synced: episode.cloud.is_some(),
            cloud_processed: false,
            cloud_synced_at: episode.cloud.as_ref().map(|cloud| cloud.at),
            cloud_mcap_path: episode.cloud.as_ref().map(|cloud| cloud.object_key.clone()),
            edge_copy: episode.copies.status(),
            edge_copy_gone: episode.copies.is_gone(),
            edge_copy_at: episode.copies.changed_at,
            edge_looked_at: episode.copies.looks.get(&CopyPlace::Edge).map(|look| look.at),
            cloud_looked_at: episode.copies.looks.iter().filter(|(place, _)| **place != CopyPlace::Edge).map(|(_, look)| look.at).min(),
            damaged_copies: episode.copies.damaged().collect(),
            approved_at: episode.approved_at,
            labels: episode.labels.clone(),
            note: episode.note.clone(),
            operator_word: episode.word.clone(),
            latest_check: episode.qa.last.as_ref().and_then(EndedRun::telling_check),
            verdict: episode.qa.last.as_ref().map(|last| last.judgement.verdict),
            qa_until: episode.qa.running.as_ref().map(|running| running.until),
            inspector_id: settled.map(|settled| settled.by),
            inspection_decision: settled.map(|settled| settled.decision),
            inspected_at: settled.map(|settled| settled.at),
            inspection_cause: episode.inspection_cause(),
            inspection_distance: episode.qa.last.as_ref().map(|last| last.judgement.distance()),
            inspection_taken_by: episode.inspection.taken.as_ref().map(|taken| taken.by),
            inspection_until: episode.inspection.taken.as_ref().map(|taken| taken.until),
            inspection_deciders: episode.inspection.decisions.iter().map(|decided| decided.by).collect(),
            inspection_blind: episode.inspection.wants_second(),
        })
    }

    fn shown_event(state: &Self, id: &str, event: &EpisodeEvent, head: Head<'_>) -> Result<Vec<RowWrite>, StoreError> {
        let ended = match event {
            EpisodeEvent::QaRunEnded(ended) => ended,
            EpisodeEvent::EpisodeMeasured(measured) => {
                let unreadable = |error: &dyn std::fmt::Display| StoreError::Unreadable(format!("facts of episode {id}: {error}"));
                let row = EpisodeFactsRow { packed: PackedFacts::of(measured).map_err(|error| unreadable(&error))? };
                let Episode::Known(episode) = state else { return Ok(vec![]) };
                let mut rows = gap_rows(EpisodeId(id.parse().map_err(|error| unreadable(&error))?), episode, measured, head)?;
                rows.push(RowWrite::new(head, &row)?);
                return Ok(rows);
            }
            EpisodeEvent::InspectionDecided(decided) => {
                let unreadable = |error: &dyn std::fmt::Display| StoreError::Unreadable(format!("decision of episode {id}: {error}"));
                let row = InspectionDecisionRow {
                    episode_id: EpisodeId(id.parse().map_err(|error| unreadable(&error))?),
                    inspector_id: decided.by,
                    decision: decided.decision,
                    effect: decided.effect,
                    reason: decided.reason.clone(),
                    tags: decided.tags.clone(),
                    duration_sec: decided.duration_sec,
                    round: decided.round,
                    place: decided.place,
                };
                return Ok(vec![RowWrite::new(Head { id: &decided.number.to_string(), ..head }, &row)?]);
            }
            EpisodeEvent::SalvageRequested(_) | EpisodeEvent::RecordingSalvaged(_) | EpisodeEvent::SalvageFailed(_) => {
                let Episode::Known(episode) = state else { return Ok(vec![]) };
                return salvage_row(&episode.salvage, head);
            }
            _ => return Ok(vec![]),
        };
        let unreadable = |error: &dyn std::fmt::Display| StoreError::Unreadable(format!("run {} of episode {id}: {error}", ended.number));
        let judgement = &ended.judgement;
        let version = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let row = QaRunRow {
            episode_id: EpisodeId(id.parse().map_err(|error| unreadable(&error))?),
            run: ended.run.clone(),
            mode: ended.mode,
            suite: judgement.suite.clone(),
            suite_version: version(judgement.suite_version),
            reference_id: judgement.reference.map(|named| named.id),
            measured_by: version(judgement.measured_by),
            verdict: judgement.verdict,
            kept: ended.kept,
            score: judgement.score,
            flag: judgement.flag.clone(),
            parts: serde_json::to_value(&judgement.parts).map_err(|error| unreadable(&error))?,
            checks: serde_json::to_value(&judgement.checks).map_err(|error| unreadable(&error))?,
        };
        Ok(vec![RowWrite::new(Head { id: &ended.number.to_string(), ..head }, &row)?])
    }
}
