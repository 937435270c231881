//! Workstations: one robot and one data collector are bound, bound to others, and unbound.
//!
//! A row is one binding. It is never gone: unbound it is history, and when the same two are bound once more it is current again. What holds
//! robot and collector is looked up first, then the locks of stations are taken: in this order everywhere.

use serde_json::{Value, json};

use crate::commands::{Command, CommandError, Refusal, Work, chance};
use crate::domain::station::{Binding, BindingFacts, Station, StationCommand, StationStatus};
use crate::domain::{Aggregate as _, CollectorId, DeviceId, RefusalCode, RobotId, StationId, StreamId};
use crate::eventstore::Loaded;
use crate::projections::facts::{self, CollectorFacts, RobotFacts};

const STATION_NAME_LENGTH: usize = 8;

/// A robot and a data collector that are there for the caller. Nobody changes them before the commit.
struct Pair {
    robot_id: RobotId,
    robot: RobotFacts,
    collector_id: CollectorId,
    collector: CollectorFacts,
}

impl Pair {
    async fn find(work: &mut Work, robot_id: RobotId, collector_id: CollectorId) -> Result<Self, CommandError> {
        let robot = facts::robot(&mut work.tx, robot_id)
            .await?
            .filter(|robot| work.scope.contains(robot.factory_id, None))
            .ok_or_else(|| Refusal::invalid(RefusalCode::RobotNotFound, format!("there is no robot {robot_id}")))?;
        let collector = facts::collector(&mut work.tx, collector_id).await?;
        let seen = |collector: &CollectorFacts| work.scope.contains(collector.organization_factory, Some(collector.organization_id));
        let collector = collector.filter(seen);
        let collector = collector
            .ok_or_else(|| Refusal::new(RefusalCode::DataCollectorNotFound, format!("there is no data collector {collector_id}")))?;
        Ok(Self { robot_id, robot, collector_id, collector })
    }

    fn bind(&self, name: String, metadata: Value) -> StationCommand {
        let binding = Binding {
            name,
            robot_id: self.robot_id,
            robot_name: self.robot.type_name.clone(),
            robot_serial: self.robot.device_id.clone(),
            data_collector_id: self.collector_id,
            collector_name: None,
            collector_operator_id: None,
            factory_id: self.robot.factory_id,
            organization_id: self.collector.organization_id,
            metadata,
        };
        let facts = BindingFacts {
            robot_status: self.robot.status,
            collector_status: self.collector.status,
            organization_factory: self.collector.organization_factory,
        };
        StationCommand::Bind { binding, facts }
    }

    /// Whether they may work together.
    fn must_fit(&self) -> Result<(), Refusal> {
        Station::Absent.decide(self.bind(String::new(), Value::Null)).map(|_| ()).map_err(Refusal::from)
    }

    /// The binding that the two had before, the last one, where they had any. Neither is bound now, but by `instead_of`.
    async fn earlier(&self, work: &mut Work, instead_of: Option<StationId>) -> Result<Option<StationId>, CommandError> {
        let known = facts::stations_of_pair(&mut work.tx, self.robot_id, self.collector_id).await?;
        let mut current = known.iter().filter(|station| station.is_current && Some(station.id) != instead_of);
        if let Some(taken) = current.next() {
            let (code, word, who) = match taken.robot_id == self.robot_id {
                true => (RefusalCode::RobotAlreadyAssigned, "ROBOT_ALREADY_ASSIGNED", format!("the robot {}", self.robot_id)),
                false => (
                    RefusalCode::DataCollectorAlreadyAssigned,
                    "DATA_COLLECTOR_ALREADY_ASSIGNED",
                    format!("the data collector {}", self.collector_id),
                ),
            };
            let text = format!("{who} is bound to workstation {}; unbind it first", taken.id);
            return Err(Refusal::new(code, text).with(json!({ "error": word })).into());
        }
        let both = known.iter().filter(|station| station.robot_id == self.robot_id && station.collector_id == self.collector_id);
        Ok(both.map(|station| station.id).find(|id| Some(*id) != instead_of))
    }
}

/// The name of a binding, for people, where it has none of its own.
fn new_name() -> String {
    format!("ws-{}", chance::text(STATION_NAME_LENGTH))
}

fn own_name(station: &Loaded<Station>) -> Option<String> {
    match &station.state {
        Station::Bound(bound) => Some(bound.binding.name.clone()),
        Station::Absent => None,
    }
}

fn not_found() -> Refusal {
    Refusal::new(RefusalCode::EntryNotFound, "station not found")
}

/// The binding that is to be: one that was before, or a new one. Who binds the same two at the same moment is waited for.
async fn to_bind(work: &mut Work, earlier: Option<StationId>) -> Result<Loaded<Station>, CommandError> {
    let Some(earlier) = earlier else {
        return Ok(Loaded::absent(facts::new_ids(&mut work.tx, "station_ids", 1).await?[0]));
    };
    let station = work.lock_and_load::<Station>(earlier).await?;
    match &station.state {
        // Bound meanwhile: who asks again hears so.
        Station::Bound(bound) if bound.current => Err(CommandError::Conflict),
        Station::Bound(_) | Station::Absent => Ok(station),
    }
}

/// Binds a robot and a data collector to a workstation.
#[derive(Clone, Debug)]
pub struct BindStation {
    pub robot_id: RobotId,
    pub data_collector_id: CollectorId,
    pub metadata: Value,
}

impl Command for BindStation {
    type Answer = StationId;
    const NAME: &'static str = "bind_station";
    async fn run(&self, work: &mut Work) -> Result<StationId, CommandError> {
        let pair = Pair::find(work, self.robot_id, self.data_collector_id).await?;
        let earlier = match pair.earlier(work, None).await {
            // What is wrong with the two is told before who has them.
            Err(CommandError::Refused(taken)) => {
                pair.must_fit()?;
                return Err(taken.into());
            }
            found => found?,
        };
        let mut station = to_bind(work, earlier).await?;
        let name = own_name(&station).unwrap_or_else(new_name);
        work.decide(&mut station, pair.bind(name, self.metadata.clone()))?;
        Ok(StationId(station.id.parse().map_err(anyhow::Error::new)?))
    }
}

/// Says what a current workstation is doing and what is kept with it, and binds it to another robot or collector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangeStation {
    pub id: StationId,
    pub robot_id: Option<RobotId>,
    pub data_collector_id: Option<CollectorId>,
    pub status: Option<StationStatus>,
    pub metadata: Option<Value>,
}

impl Command for ChangeStation {
    /// The binding that is current now: another one, where others are bound.
    type Answer = StationId;
    const NAME: &'static str = "change_station";

    async fn run(&self, work: &mut Work) -> Result<StationId, CommandError> {
        let known = facts::station(&mut work.tx, self.id).await?;
        let known = known.filter(|station| station.is_current && work.scope.contains(station.factory_id, Some(station.organization_id)));
        let known = known.ok_or_else(not_found)?;
        let robot_id = self.robot_id.unwrap_or(known.robot_id);
        let collector_id = self.data_collector_id.unwrap_or(known.collector_id);
        let pair = match (self.robot_id, self.data_collector_id) {
            (None, None) => None,
            _ => Some(Pair::find(work, robot_id, collector_id).await?),
        };
        let same = (robot_id, collector_id) == (known.robot_id, known.collector_id);
        let earlier = match &pair {
            Some(pair) if !same => pair.earlier(work, Some(self.id)).await?,
            _ => None,
        };
        let ids: Vec<String> = [Some(self.id), earlier].into_iter().flatten().map(|id| id.to_string()).collect();
        let heads: Vec<StreamId> = ids.iter().map(StreamId::of::<Station>).collect();
        let mut stations = work.tx.lock_and_load::<Station>(&heads, &ids).await?;
        let mut station = stations.remove(0);
        let Station::Bound(bound) = &station.state else { return Err(not_found().into()) };
        let bound = bound.clone();
        if !bound.current {
            return Err(not_found().into());
        }
        let pair = match pair {
            Some(pair) if !same => pair,
            named => {
                if let Some(pair) = named {
                    // Where the two are named they have to be fit to work, also those who work here.
                    pair.must_fit()?;
                }
                work.decide(&mut station, StationCommand::Set { status: self.status, metadata: self.metadata.clone() })?;
                return Ok(self.id);
            }
        };
        let mut next = match stations.pop() {
            Some(earlier) if matches!(&earlier.state, Station::Bound(bound) if bound.current) => return Err(CommandError::Conflict),
            Some(earlier) => earlier,
            None => to_bind(work, None).await?,
        };
        let next_id = StationId(next.id.parse().map_err(anyhow::Error::new)?);
        work.decide(&mut station, StationCommand::Unbind { superseded_by: Some(next_id) })?;
        let name = own_name(&next).unwrap_or_else(|| bound.binding.name.clone());
        let metadata = self.metadata.clone().unwrap_or_else(|| bound.binding.metadata.clone());
        work.decide(&mut next, pair.bind(name, metadata))?;
        let status = Some(self.status.unwrap_or(bound.status));
        work.decide(&mut next, StationCommand::Set { status, metadata: None })?;
        Ok(next_id)
    }
}

/// Unbinds a workstation that has no work left. It is history from now on.
#[derive(Clone, Copy, Debug)]
pub struct UnbindStation(pub StationId);

impl Command for UnbindStation {
    type Answer = ();
    const NAME: &'static str = "unbind_station";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        // Who gives it work right now comes first.
        facts::hold_work_of_station(&mut work.tx, self.0).await?;
        let mut station = work.lock_and_load::<Station>(self.0).await?;
        match &station.state {
            Station::Bound(bound)
                if bound.current && work.scope.contains(bound.binding.factory_id, Some(bound.binding.organization_id)) => {}
            Station::Bound(_) | Station::Absent => return Err(not_found().into()),
        }
        let open = facts::open_batches_of_station(&mut work.tx, self.0).await?;
        if open > 0 {
            let text = format!("the workstation has work: batches that are pending or active: {open}; recall or cancel them first");
            return Err(Refusal::new(RefusalCode::StationHasBatches, text).with(json!({ "count": open })).into());
        }
        work.decide(&mut station, StationCommand::Unbind { superseded_by: None })?;
        Ok(())
    }
}

/// Current workstations have the names of their robots.
pub(super) async fn follow_robots(
    work: &mut Work,
    stations: &[StationId],
    type_name: Option<&str>,
    device_id: Option<&DeviceId>,
) -> Result<(), CommandError> {
    if stations.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = stations.iter().map(ToString::to_string).collect();
    let heads: Vec<StreamId> = ids.iter().map(StreamId::of::<Station>).collect();
    for mut station in work.tx.lock_and_load::<Station>(&heads, &ids).await? {
        let Station::Bound(bound) = &station.state else { continue };
        let follow = StationCommand::FollowRobot {
            robot_name: type_name.unwrap_or(&bound.binding.robot_name).to_owned(),
            robot_serial: device_id.unwrap_or(&bound.binding.robot_serial).clone(),
        };
        work.decide(&mut station, follow)?;
    }
    Ok(())
}

/// What a data collector does at their workstation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStation {
    Break,
    EndBreak,
    LogIn,
    LogOut,
}

/// The collector's current workstation follows what they do.
#[derive(Clone, Copy, Debug)]
pub struct FollowCollector {
    pub collector_id: CollectorId,
    pub what: AtStation,
}

impl Command for FollowCollector {
    /// The workstation and its status.
    type Answer = (StationId, StationStatus);
    const NAME: &'static str = "follow_collector";

    async fn run(&self, work: &mut Work) -> Result<Self::Answer, CommandError> {
        let none = || Refusal::new(RefusalCode::NoCurrentWorkstation, "you have no workstation; a manager binds you to one");
        let id = facts::station_of_collector(&mut work.tx, self.collector_id).await?.ok_or_else(none)?;
        let mut station = work.lock_and_load::<Station>(id).await?;
        // Of the time after the lock was taken: who changes a batch or the status holds it.
        let at_work = facts::station_at_work(&mut work.tx, id).await?;
        let command = match self.what {
            AtStation::Break => StationCommand::Break,
            AtStation::EndBreak => StationCommand::EndBreak { any_active: at_work.has_active_batch },
            AtStation::LogIn => StationCommand::LogIn { any_active: at_work.has_active_batch },
            AtStation::LogOut => StationCommand::LogOut { is_recording: at_work.is_recording },
        };
        match work.decide(&mut station, command) {
            // Unbound meanwhile.
            Err(CommandError::Refused(refusal)) if refusal.code == RefusalCode::StationNotFound => return Err(none().into()),
            decided => decided?,
        };
        match &station.state {
            Station::Bound(bound) => Ok((id, bound.status)),
            Station::Absent => Err(none().into()),
        }
    }
}
