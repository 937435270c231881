//! A caller whose scope is one factory: what belongs to another is not there, in lists, by id, and for commands.

use std::collections::{BTreeMap, BTreeSet};

use keystone_edge::commands::batches::{AdjustBatch, CancelBatch, CreateBatch, DeleteBatch, RecallBatch};
use keystone_edge::commands::devices::OpenLink;
use keystone_edge::commands::orders::{DeleteOrder, PlaceOrder, ReviseOrder};
use keystone_edge::commands::registration::{Credentials, RotateToken, TokenHash};
use keystone_edge::commands::registry::{
    BindAsset, BindStation, CreateDataCollector, CreateFactory, CreateOrganization, CreateRobot, CreateScene, CreateSubscene, RetireRobot,
    UnbindAsset,
};
use keystone_edge::commands::tasks::{CreateTasks, DeleteTask, FailTask};
use keystone_edge::commands::{Command, CommandError, Commands, Context};
use keystone_edge::domain::device::{LinkKind, RecorderAction};
use keystone_edge::domain::order::Revision;
use keystone_edge::domain::{
    BatchId, CollectorId, DeviceId, EpisodeId, FactoryId, OrderId, OrganizationId, RefusalCode, RefusalKind, RobotId, RobotTypeId, SceneId,
    Scope, StationId, SubsceneId, TaskId,
};
use keystone_edge::projections::reads::breakdown::BreakdownFilter;
use keystone_edge::projections::reads::{Page, Reads};
use serde_json::json;

use crate::factory::{Factory, asked, device, done};
use crate::harness::TestDatabase;

const TYPE: RobotTypeId = RobotTypeId(1);
const NOWHERE: i64 = 987_654;

/// Another factory beside the first, with one workstation.
async fn another(first: &Factory) -> Factory {
    let commands = &first.commands;
    let (name, metadata) = ("Wuhan".to_owned(), json!({}));
    let factory_id = done(commands, CreateFactory { name: name.clone(), location: None, timezone: None, settings: None }).await;
    let organization_id = done(commands, CreateOrganization { factory_id, name: name.clone(), description: None, settings: None }).await;
    let scene = CreateScene { factory_id, name: name.clone(), description: None, initial_scene_layout_template: None };
    let scene_id = done(commands, scene).await;
    let subscene = CreateSubscene { scene_id, name: name.clone(), description: None, initial_scene_layout: None };
    let subscene_id = done(commands, subscene).await;
    let device_id = device(17);
    let robot = CreateRobot {
        robot_type_id: TYPE,
        factory_id,
        device_id: device_id.clone(),
        asset_id: None,
        binds_asset: false,
        metadata: metadata.clone(),
    };
    let robot_id = done(commands, robot).await;
    let collector = done(commands, collector(organization_id, "away")).await;
    let station = done(commands, BindStation { robot_id, data_collector_id: collector, metadata }).await;
    let (store, sop_id) = (first.store.clone(), first.sop_id);
    let (stations, collectors) = (vec![(station, device_id)], vec![collector]);
    Factory { store, commands: commands.clone(), factory_id, organization_id, scene_id, subscene_id, sop_id, stations, collectors }
}

fn collector(organization_id: OrganizationId, name: &str) -> CreateDataCollector {
    let (name, operator_id) = (name.to_owned(), name.to_owned());
    CreateDataCollector {
        organization_id,
        name,
        operator_id,
        email: None,
        certification: None,
        metadata: json!({}),
        password_hash: "x".into(),
    }
}

/// Two factories at work: each has an order, a batch with two tasks, and an episode.
async fn two_factories(database: &TestDatabase) -> [Factory; 2] {
    let here = Factory::new(&database.pool, 1).await;
    let there = another(&here).await;
    let client = database.pool.get().await.unwrap();
    for factory in [&here, &there] {
        let order = factory.order("Cups", 10).await;
        let batch = factory.batch(order, 0, 2).await;
        let task = &batch.tasks[0];
        let sql = "insert into episodes select $1::bigint, 1, now(), now(), 'e' || $1::bigint, $1, $2::text, $3::bigint, $4::bigint, $5::bigint, 1, 1,
            'Scene', 1, 'Subscene', $6::bigint, $7::bigint, 'edge/' || $2::text || '.mcap', null, 'c', 1, null, 1.0, 1, null, 'approved', null, null,
            false, false, false, null, '{}'";
        let ids: [i64; 5] = [batch.batch_id.0, order.0, factory.stations[0].0.0, factory.factory_id.0, factory.organization_id.0];
        client.execute(sql, &[&task.id.0, &task.public_id.as_str(), &ids[0], &ids[1], &ids[2], &ids[3], &ids[4]]).await.unwrap();
    }
    [here, there]
}

/// The ids in every list.
async fn listed(reads: &Reads, scope: &Scope) -> BTreeMap<&'static str, BTreeSet<i64>> {
    let mut all = BTreeMap::new();
    macro_rules! ids {
        ($($list:ident),+) => {
            $({
                let listed = reads.$list(scope, &Default::default(), Page { limit: Some(100), ..Page::ALL }).await.unwrap();
                assert_eq!(usize::try_from(listed.total).unwrap(), listed.rows.len(), "{}", stringify!($list));
                all.insert(stringify!($list), listed.rows.iter().map(|row| row.id.0).collect());
            })+
        };
    }
    ids!(factories, organizations, scenes, subscenes, robots, data_collectors, stations, orders, batches, tasks, episodes);
    let scenes = reads.breakdown(scope, &BreakdownFilter::default(), Page { limit: Some(100), ..Page::ALL }).await.unwrap();
    assert_eq!(usize::try_from(scenes.total).unwrap(), scenes.rows.len());
    all.insert("breakdown", scenes.rows.iter().map(|row| row.id).collect());
    all
}

/// Whether each of these ids is there.
async fn found(reads: &Reads, scope: &Scope, list: &str, id: i64) -> bool {
    macro_rules! one {
        ($one:ident, $id:expr) => {
            reads.$one(scope, $id).await.unwrap().is_some()
        };
    }
    match list {
        "factories" => one!(factory, FactoryId(id)),
        "organizations" => one!(organization, OrganizationId(id)),
        "scenes" => one!(scene, SceneId(id)),
        "subscenes" => one!(subscene, SubsceneId(id)),
        "robots" => one!(robot, RobotId(id)),
        "data_collectors" => one!(data_collector, CollectorId(id)),
        "stations" => one!(station, StationId(id)),
        "orders" => one!(order, OrderId(id)),
        "batches" => {
            let tasks = reads.tasks_of_batch(scope, BatchId(id), Page::ALL).await.unwrap().total;
            let there = one!(batch, BatchId(id));
            assert_eq!(tasks > 0, there);
            there
        }
        "tasks" => {
            let there = one!(task, TaskId(id));
            assert_eq!(one!(task_config, TaskId(id)), there);
            there
        }
        "episodes" => {
            let there = one!(episode, EpisodeId(id));
            let path = reads.episode(&Scope::Everything, EpisodeId(id)).await.unwrap().unwrap().own.mcap_path;
            assert_eq!(reads.episode_of_object(scope, &path).await.unwrap().is_some(), there);
            there
        }
        other => panic!("nothing is asked of {other}"),
    }
}

fn open_recorder(device: &DeviceId) -> OpenLink {
    OpenLink { device: device.clone(), kind: LinkKind::Recorder, remote: "10.0.0.1".into(), process: None }
}

/// The devices that are there, which is the same whichever way they are asked for.
async fn devices(reads: &Reads, scope: &Scope) -> Vec<String> {
    let all = reads.devices(&Scope::Everything).await.unwrap();
    let there: Vec<String> = reads.devices(scope).await.unwrap().into_iter().map(|row| row.id.into()).collect();
    let linked: Vec<String> = reads.linked_devices(scope).await.unwrap().into_iter().map(|row| row.id.into()).collect();
    assert_eq!(linked, there);
    let seen = reads.seen_devices(scope, all.iter().map(|row| row.id.as_str())).await.unwrap();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), there);
    for row in all {
        let id = &row.id;
        assert_eq!(reads.device(scope, id).await.unwrap().is_some(), there.contains(&id.to_string()), "{id}");
        assert_eq!(reads.sees_device(scope, id).await.unwrap(), there.contains(&id.to_string()), "{id}");
    }
    there
}

#[tokio::test]
async fn a_scope_shows_what_it_contains_and_nothing_else() {
    let database = TestDatabase::new().await;
    let reads = Reads::new(database.pool.clone());
    let [here, there] = two_factories(&database).await;
    let robots = [&here.stations[0].1, &there.stations[0].1];
    for device in robots {
        done(&here.commands, open_recorder(device)).await;
    }
    let all = robots.map(ToString::to_string);
    assert_eq!(devices(&reads, &Scope::Everything).await.into_iter().collect::<BTreeSet<_>>(), all.into());
    let everything = listed(&reads, &Scope::Everything).await;
    let of_there = listed(&reads, &Scope::Factories([there.factory_id].into())).await;
    for scope in [Scope::Factories([here.factory_id].into()), Scope::Organization(here.factory_id, here.organization_id)] {
        let of_here = listed(&reads, &scope).await;
        for (list, all) in &everything {
            let (ours, theirs) = (&of_here[list], &of_there[list]);
            assert!(!ours.is_empty() && !theirs.is_empty() && ours.is_disjoint(theirs), "{list}: {ours:?} {theirs:?}");
            assert_eq!(&(ours | theirs), all, "{list}");
            for id in all.iter().filter(|_| *list != "breakdown") {
                assert_eq!(found(&reads, &scope, list, *id).await, ours.contains(id), "{list} {id}");
            }
        }
        assert_eq!(devices(&reads, &scope).await, [here.stations[0].1.to_string()], "devices");
        // What belongs to nobody is there for everybody.
        assert!(reads.robot_type(&scope, TYPE).await.unwrap().is_some() && reads.sop(&scope, here.sop_id).await.unwrap().is_some());
    }
    // Of one factory's organizations the others are not there; what belongs to the factory as a whole is.
    let beside = CreateOrganization { factory_id: here.factory_id, name: "Beside".into(), description: None, settings: None };
    let beside = listed(&reads, &Scope::Organization(here.factory_id, done(&here.commands, beside).await)).await;
    for (list, ids) in &beside {
        let shared = ["factories", "organizations", "scenes", "subscenes", "robots"].contains(list);
        assert_eq!(!ids.is_empty(), shared, "{list}: {ids:?}");
    }
    assert!(listed(&reads, &Scope::Factories([].into())).await.values().all(BTreeSet::is_empty));
    assert_eq!(devices(&reads, &Scope::Factories([].into())).await, [""; 0]);
}

async fn outcome<C: Command>(commands: &Commands, scope: Scope, command: C) -> Result<(), (RefusalCode, RefusalKind)> {
    match commands.execute(&Context { scope, ..Context::system() }, command).await {
        Ok(_) => Ok(()),
        Err(CommandError::Refused(refusal)) => Err((refusal.code, refusal.kind)),
        Err(other) => panic!("`{}`: {other:?}", C::NAME),
    }
}

#[tokio::test]
async fn a_command_on_what_the_scope_does_not_contain_hears_that_it_is_not_there() {
    let database = TestDatabase::new().await;
    let [here, there] = two_factories(&database).await;
    let reads = Reads::new(database.pool.clone());
    let ids = listed(&reads, &Scope::Factories([here.factory_id].into())).await;
    let of = |list: &str| *ids[list].first().unwrap();
    let outside = Scope::Factories([there.factory_id].into());

    /// Asked from outside as about what is there for nobody.
    macro_rules! hidden {
        ($list:literal, $command:expr) => {{
            let command = $command;
            let nowhere = outcome(&here.commands, Scope::Everything, command(NOWHERE)).await;
            let refused = outcome(&here.commands, outside.clone(), command(of($list))).await;
            assert!(nowhere.is_err(), "{}: done where there is nothing", $list);
            assert_eq!(refused, nowhere, "{}, from outside", $list);
        }};
    }
    let groups = || vec![here.group(1)];
    hidden!("orders", |id| ReviseOrder { order_id: OrderId(id), revision: Revision { name: Some("b".into()), ..Revision::default() } });
    hidden!("orders", |id| DeleteOrder(OrderId(id)));
    hidden!("orders", |id| CreateBatch { order_id: OrderId(id), ..there.create_batch(OrderId(id), 0, 1) });
    hidden!("orders", |id| CreateTasks {
        order_id: OrderId(id),
        sop_id: here.sop_id,
        subscene_id: here.subscene_id,
        station_id: here.stations[0].0,
        quantity: 1
    });
    hidden!("batches", |id| AdjustBatch { batch_id: BatchId(id), groups: groups() });
    hidden!("batches", |id| CancelBatch(BatchId(id)));
    hidden!("batches", |id| RecallBatch { batch_id: BatchId(id), reason: None });
    hidden!("batches", |id| DeleteBatch(BatchId(id)));
    hidden!("tasks", |id| DeleteTask(TaskId(id)));
    hidden!("tasks", |id| FailTask { task_id: TaskId(id), reason: "lost".into() });
    hidden!("robots", |id| RetireRobot { robot_id: RobotId(id), reason: "lost".into() });
    hidden!("robots", |id| BindAsset { robot_id: RobotId(id), asset_id: "arm".into() });
    hidden!("robots", |id| UnbindAsset(RobotId(id)));
    let credentials = Credentials { token: TokenHash("0".repeat(64)), store_key: None };
    hidden!("robots", |id| RotateToken { robot_id: RobotId(id), credentials: credentials.clone() });
    hidden!("robots", |id| BindStation { robot_id: RobotId(id), data_collector_id: there.collectors[0], metadata: json!({}) });
    let robot = RobotId(*listed(&reads, &outside).await["robots"].first().unwrap());
    hidden!("data_collectors", |id| BindStation { robot_id: robot, data_collector_id: CollectorId(id), metadata: json!({}) });
    hidden!("factories", |id| CreateOrganization { factory_id: FactoryId(id), name: "a".into(), description: None, settings: None });
    hidden!("factories", |id| CreateScene {
        factory_id: FactoryId(id),
        name: "a".into(),
        description: None,
        initial_scene_layout_template: None
    });
    hidden!("factories", |id| CreateRobot {
        robot_type_id: TYPE,
        factory_id: FactoryId(id),
        device_id: device(99),
        asset_id: None,
        binds_asset: false,
        metadata: json!({})
    });
    hidden!("scenes", |id| CreateSubscene { scene_id: SceneId(id), name: "a".into(), description: None, initial_scene_layout: None });
    hidden!("organizations", |id| collector(OrganizationId(id), "a"));
    hidden!("organizations", |id| PlaceOrder { organization_id: OrganizationId(id), ..there.place_order("a", 1) });
    hidden!("scenes", |id| PlaceOrder { scene_id: SceneId(id), ..there.place_order("a", 1) });

    // What is bound elsewhere is taken here, too, and nobody here hears by whom.
    let away = *listed(&reads, &outside).await["robots"].first().unwrap();
    let bind = |id: i64| BindAsset { robot_id: RobotId(id), asset_id: "arm".into() };
    assert_eq!(outcome(&here.commands, Scope::Everything, bind(away)).await, Ok(()));
    let context = Context { scope: Scope::Factories([here.factory_id].into()), ..Context::system() };
    let Err(CommandError::Refused(refusal)) = here.commands.execute(&context, bind(of("robots"))).await else {
        panic!("it is bound twice")
    };
    assert_eq!((refusal.code, refusal.message.as_str()), (RefusalCode::AssetTaken, "another robot is bound to this asset"));
    assert_eq!(reads.bound_assets().await.unwrap(), BTreeSet::from(["arm".to_owned()]));

    // A new factory lies in no scope but the whole.
    let new_factory = || CreateFactory { name: "Ulm".into(), location: None, timezone: None, settings: None };
    for scope in [Scope::Factories([here.factory_id].into()), Scope::Organization(here.factory_id, here.organization_id)] {
        let refused = Err((RefusalCode::OutsideScope, RefusalKind::Forbidden));
        assert_eq!(outcome(&here.commands, scope, new_factory()).await, refused);
    }
    assert_eq!(outcome(&here.commands, Scope::Everything, new_factory()).await, Ok(()));

    let ask = |device: DeviceId| asked(&device, RecorderAction::Pause, None);
    done(&here.commands, open_recorder(&here.stations[0].1)).await;
    let not_connected = outcome(&here.commands, Scope::Everything, ask(device(98))).await;
    assert_eq!(outcome(&here.commands, outside, ask(here.stations[0].1.clone())).await, not_connected);

    // From within all of it can be done.
    let inside = || Scope::Organization(here.factory_id, here.organization_id);
    assert_eq!(outcome(&here.commands, inside(), ask(here.stations[0].1.clone())).await, Ok(()));
    assert_eq!(outcome(&here.commands, inside(), FailTask { task_id: TaskId(of("tasks")), reason: "lost".into() }).await, Ok(()));
    assert_eq!(outcome(&here.commands, inside(), CancelBatch(BatchId(of("batches")))).await, Ok(()));
    assert_eq!(outcome(&here.commands, inside(), here.place_order("Plates", 1)).await, Ok(()));
}
