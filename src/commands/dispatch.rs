//! Creating tasks: what is looked up, what has to be true, and the tasks themselves.
//! Shared by everything that gives work to a workstation.

use serde::{Deserialize, Serialize};

use super::{CommandError, Refusal, Work};
use crate::domain::order::Terms;
use crate::domain::task::{self, Task, TaskCommand};
use crate::domain::workload::TaskGroup;
use crate::domain::{BatchId, OrderId, PublicTaskId, RefusalCode, SopId, StationId, SubsceneId, TaskId, Timestamp, public_id};
use crate::eventstore::Loaded;
use crate::projections::facts::{self, DispatchFacts, StationFacts};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatedTask {
    pub id: TaskId,
    pub public_id: PublicTaskId,
    pub sop_id: SopId,
    pub subscene_id: SubsceneId,
    pub created_at: Timestamp,
}

/// Looks up what dispatching `groups` to a station needs, with ids for the new tasks.
pub(super) async fn look_up(work: &mut Work, station: StationId, groups: &[TaskGroup]) -> Result<DispatchFacts, CommandError> {
    let sops: Vec<SopId> = groups.iter().map(|group| group.sop_id).collect();
    let subscenes: Vec<SubsceneId> = groups.iter().map(|group| group.subscene_id).collect();
    let tasks: i64 = groups.iter().map(|group| group.quantity).sum();
    Ok(facts::dispatch(&mut work.tx, station, &sops, &subscenes, usize::try_from(tasks).unwrap_or_default()).await?)
}

/// The station, if work of this order may be given to it. `grows`: whether new work is given.
pub(super) fn check_station(found: &DispatchFacts, id: StationId, terms: &Terms, grows: bool) -> Result<StationFacts, Refusal> {
    let station =
        found.station.clone().ok_or_else(|| Refusal::new(RefusalCode::WorkstationNotFound, format!("there is no workstation {id}")))?;
    if station.organization_id != terms.organization_id {
        let text = format!("workstation {id} belongs to organization {}, the order to {}", station.organization_id, terms.organization_id);
        return Err(Refusal::new(RefusalCode::OrganizationMismatch, text));
    }
    if grows && !station.is_current {
        let text = format!("workstation {id} is a superseded binding; dispatch to the current one");
        return Err(Refusal::new(RefusalCode::WorkstationSuperseded, text));
    }
    Ok(station)
}

/// What all tasks of one request have in common.
pub(super) struct Dispatch<'a> {
    pub order_id: OrderId,
    pub batch_id: BatchId,
    pub station_id: StationId,
    pub terms: &'a Terms,
    pub station: &'a StationFacts,
    pub found: &'a DispatchFacts,
}

impl Dispatch<'_> {
    /// Creates the tasks of all groups, in their order. They share the instant and differ by their ordinal.
    pub fn create(&self, work: &mut Work, groups: &[TaskGroup]) -> Result<Vec<CreatedTask>, CommandError> {
        let mut ids = self.found.task_ids.iter();
        let mut tasks = vec![];
        for group in groups {
            if !self.found.sops.contains(&group.sop_id) {
                return Err(Refusal::new(RefusalCode::SopNotFound, format!("there is no SOP {}", group.sop_id)).into());
            }
            let subscene = self
                .found
                .subscenes
                .get(&group.subscene_id)
                .ok_or_else(|| Refusal::new(RefusalCode::SubsceneNotFound, format!("there is no subscene {}", group.subscene_id)))?;
            if subscene.scene_id != self.terms.scene_id {
                let (id, scene, ordered) = (group.subscene_id, subscene.scene_id, self.terms.scene_id);
                let text = format!("subscene {id} belongs to scene {scene}; the order is for scene {ordered}");
                return Err(Refusal::new(RefusalCode::SubsceneOfOtherScene, text).into());
            }
            for id in ids.by_ref().take(usize::try_from(group.quantity).unwrap_or_default()) {
                let text = public_id("task", work.now, tasks.len(), rand::random());
                let public_id = PublicTaskId::parse(&text).map_err(anyhow::Error::new)?;
                let brief = task::Brief {
                    task_id: public_id.clone(),
                    batch_id: self.batch_id,
                    order_id: self.order_id,
                    station_id: self.station_id,
                    sop_id: group.sop_id,
                    scene_id: subscene.scene_id,
                    scene_name: subscene.scene_name.clone(),
                    subscene_id: group.subscene_id,
                    subscene_name: subscene.name.clone(),
                    initial_scene_layout: subscene.layout.clone().unwrap_or_default(),
                    factory_id: self.station.factory_id,
                    organization_id: self.terms.organization_id,
                };
                work.decide(&mut Loaded::<Task>::absent(id), TaskCommand::Create(brief))?;
                tasks.push(CreatedTask { id: *id, public_id, sop_id: group.sop_id, subscene_id: group.subscene_id, created_at: work.now });
            }
        }
        Ok(tasks)
    }
}
