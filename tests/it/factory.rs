//! A small factory to act on, made by the service's own commands.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use keystone_edge::commands::batches::{CompleteTasks, CreateBatch, CreatedBatch};
use keystone_edge::commands::devices::RequestDeviceCommand;
use keystone_edge::commands::orders::PlaceOrder;
use keystone_edge::commands::registry::{
    BindStation, CreateDataCollector, CreateFactory, CreateOrganization, CreateRobot, CreateRobotType, CreateScene, CreateSop,
    CreateSubscene,
};
use keystone_edge::commands::reports::DeviceReport;
use keystone_edge::commands::{Command, CommandError, Commands, Context, Refusal};
use keystone_edge::domain::device::{LinkKind, RecorderAction};
use keystone_edge::domain::order::Priority;
use keystone_edge::domain::report::Report;
use keystone_edge::domain::task::{UploadReport, Witness};
use keystone_edge::domain::workload::TaskGroup;
use keystone_edge::domain::{
    Actor, BatchId, CollectorId, DeviceId, FactoryId, OrderId, OrganizationId, PublicTaskId, SceneId, SopId, StationId, SubsceneId, TaskId,
};
use keystone_edge::eventstore::{EventStore, Holder, Metadata, Sequencer};
use keystone_edge::outbox::Wakes;
use keystone_edge::pg::Connector;
use serde_json::json;

pub struct Factory {
    pub store: EventStore,
    pub commands: Commands,
    pub factory_id: FactoryId,
    pub organization_id: OrganizationId,
    pub scene_id: SceneId,
    pub subscene_id: SubsceneId,
    pub sop_id: SopId,
    pub stations: Vec<(StationId, DeviceId)>,
    /// Who works at each station.
    pub collectors: Vec<CollectorId>,
}

impl Factory {
    /// With as many workstations as robots.
    pub async fn new(pool: &Pool, robots: usize) -> Self {
        Self::on(EventStore::new(pool.clone(), Wakes::default()), robots).await
    }

    pub async fn on(store: EventStore, robots: usize) -> Self {
        let commands = Commands::new(store.clone());
        let factory_id =
            done(&commands, CreateFactory { name: "Suzhou".into(), location: None, timezone: None, settings: Some(json!({"shift_h": 8})) })
                .await;
        let organization_id =
            done(&commands, CreateOrganization { factory_id, name: "Household".into(), description: None, settings: None }).await;
        let scene_id = done(
            &commands,
            CreateScene {
                factory_id,
                name: "Kitchen".into(),
                description: None,
                initial_scene_layout_template: Some("cups left, plates right".into()),
            },
        )
        .await;
        let subscene_id =
            done(&commands, CreateSubscene { scene_id, name: "Sink".into(), description: None, initial_scene_layout: None }).await;
        let sop_id =
            done(&commands, CreateSop { slug: "wash-cups".into(), version: None, description: None, skill_sequence: vec![] }).await;
        let robot_type_id = done(
            &commands,
            CreateRobotType {
                name: "Arm".into(),
                model: "A-2".into(),
                manufacturer: None,
                end_effector: None,
                sensor_suite: json!({}),
                capabilities: json!({}),
                ros_topics: vec!["/joint_states".into()],
            },
        )
        .await;
        let (mut stations, mut collectors) = (vec![], vec![]);
        for n in 0..robots {
            let device_id = device(n);
            let robot = CreateRobot {
                robot_type_id,
                factory_id,
                device_id: device_id.clone(),
                asset_id: None,
                binds_asset: false,
                metadata: json!({}),
            };
            let robot_id = done(&commands, robot).await;
            let collector = CreateDataCollector {
                organization_id,
                name: format!("Collector {n}"),
                operator_id: format!("op-{n}"),
                email: None,
                certification: None,
                metadata: json!({}),
                password_hash: "not a hash".into(),
            };
            let data_collector_id = done(&commands, collector).await;
            let station = done(&commands, BindStation { robot_id, data_collector_id, metadata: json!({}) }).await;
            stations.push((station, device_id));
            collectors.push(data_collector_id);
        }
        Self { store, commands, factory_id, organization_id, scene_id, subscene_id, sop_id, stations, collectors }
    }

    pub async fn order(&self, name: &str, target_count: i64) -> OrderId {
        done(&self.commands, self.place_order(name, target_count)).await
    }

    pub fn place_order(&self, name: &str, target_count: i64) -> PlaceOrder {
        PlaceOrder {
            organization_id: self.organization_id,
            scene_id: self.scene_id,
            name: name.to_owned(),
            target_count,
            priority: Priority::Normal,
            deadline: None,
            metadata: None,
        }
    }

    pub async fn batch(&self, order_id: OrderId, station: usize, quantity: i64) -> CreatedBatch {
        done(&self.commands, self.create_batch(order_id, station, quantity)).await
    }

    pub fn create_batch(&self, order_id: OrderId, station: usize, quantity: i64) -> CreateBatch {
        CreateBatch { order_id, station_id: self.stations[station].0, groups: vec![self.group(quantity)], notes: None, metadata: None }
    }
}

impl Factory {
    pub fn group(&self, quantity: i64) -> TaskGroup {
        TaskGroup { sop_id: self.sop_id, subscene_id: self.subscene_id, quantity }
    }

    /// What the collector of a station says was done with other equipment.
    pub fn complete(&self, batch_id: BatchId, station: usize, quantity: i64) -> CompleteTasks {
        let collector = self.collectors[station];
        CompleteTasks { batch_id, collector, sop_id: self.sop_id, subscene_id: self.subscene_id, quantity }
    }
}

pub fn device(n: usize) -> DeviceId {
    DeviceId::parse(&format!("AB-F0001-T0003-{n:06}")).expect("a device id")
}

/// What is asked of a recorder, without a look at what it does.
pub fn asked(device: &DeviceId, action: RecorderAction, task: Option<PublicTaskId>) -> RequestDeviceCommand {
    let timeout = Duration::from_secs(15);
    RequestDeviceCommand {
        command_id: uuid::Uuid::new_v4().to_string(),
        device: device.clone(),
        action,
        task,
        config: None,
        timeout,
        holds_none: false,
        sight: None,
        asynchronous: false,
        waited_by: None,
    }
}

/// What a device tells over its recorder's connection.
pub fn recorder_tells(device: &DeviceId, epoch: i64, report: Report) -> DeviceReport {
    DeviceReport { device: device.clone(), link: LinkKind::Recorder, epoch, report }
}

/// What a device tells over its uploader's connection.
pub fn uploader_tells(device: &DeviceId, epoch: i64, report: Report) -> DeviceReport {
    DeviceReport { device: device.clone(), link: LinkKind::Transfer, epoch, report }
}

/// Its uploader says that the files of a task are in the bucket.
pub fn uploaded(device: &DeviceId, epoch: i64, task: PublicTaskId, report: UploadReport) -> DeviceReport {
    uploader_tells(device, epoch, Report::UploadCompleted { task, upload: report, witness: Witness::UploadComplete })
}

/// Runs a command that must not be refused.
pub async fn done<C: Command>(commands: &Commands, command: C) -> C::Answer {
    match commands.execute(&Context::system(), command).await {
        Ok(answer) => answer,
        Err(error) => panic!("`{}` failed: {error:?}", C::NAME),
    }
}

/// Runs a command that must be refused.
pub async fn refused<C: Command>(commands: &Commands, command: C) -> Refusal {
    match commands.execute(&Context::system(), command).await {
        Err(CommandError::Refused(refusal)) => refusal,
        Err(other) => panic!("`{}`: {other:?}", C::NAME),
        Ok(_) => panic!("`{}` was not refused", C::NAME),
    }
}

/// What an event of nobody in particular carries.
pub fn metadata() -> Metadata {
    Metadata {
        actor: Actor::System,
        correlation_id: uuid::Uuid::nil(),
        cause: None,
        request_id: None,
        source_address: None,
        idempotency_key: None,
        trace_parent: None,
        occurred_at: keystone_edge::eventstore::transaction::stored_precision(chrono::Utc::now()),
    }
}

/// The sequence of the event in which the upload of a task was reported last; 0: never.
pub async fn last_report(pool: &Pool, task: TaskId) -> i64 {
    let sql = "select coalesce(max(sequence), 0) from events where aggregate_type = 'task' and aggregate_id = $1
               and event_type in ('upload_reported', 'late_upload_reported')";
    let client = keystone_edge::pg::get(pool).await.expect("a connection");
    client.query_one(sql, &[&task.to_string()]).await.expect("an answer").get(0)
}

/// Becomes the leader of the log, once whoever was it is gone.
pub async fn lead(connector: &Connector) -> Sequencer {
    let holder = Holder::new("test");
    let connection = Arc::new(connector.connect().await.expect("a connection"));
    loop {
        if let Some(leader) = Sequencer::lead(&connection, &holder).await.expect("an answer about the lead") {
            return leader;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Gives a position to every committed event.
pub async fn place_all(connector: &Connector) {
    let mut leader = lead(connector).await;
    while leader.step().await.expect("a step of the sequencer") > 0 {}
}
