//! What is sent to devices because of events, over links of this process that the test holds the other end of.

use std::sync::Arc;
use std::time::Duration;

use keystone_edge::commands::batches::CreatedTask;
use keystone_edge::commands::callbacks::{CallbackTokens, FinishCallback, Proof};
use keystone_edge::commands::devices::{OpenLink, RequestDeviceCommand, SettleDeviceCommand};
use keystone_edge::commands::{Commands, Context};
use keystone_edge::config::Secret;
use keystone_edge::devices::hub::{Ask, Lane};
use keystone_edge::devices::session::Now;
use keystone_edge::devices::wire::ToTransfer;
use keystone_edge::devices::{Hub, LinkId, Rpc, SendError};
use keystone_edge::dispatcher::{Delivery, Outcome, StoredEvent, Subscriber};
use keystone_edge::domain::device::{CommandOutcome, LinkKind, RecorderAction, RecorderState};
use keystone_edge::domain::report::Report;
use keystone_edge::domain::routing::Destination;
use keystone_edge::domain::task::{FinishReport, TaskStatus};
use keystone_edge::domain::{Actor, DeviceId, Timestamp};
use keystone_edge::pg::get;
use keystone_edge::projections::reads::Reads;
use keystone_edge::subscribers::device_commands::DeviceCommands;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::factory::{Factory, asked, device, done, recorder_tells};
use crate::harness::TestDatabase;
use crate::outbox::{dispatch, number, settings, until_empty, waiting};

const URL: &str = "http://edge:8080/api/v1/callbacks/finish";

struct Desk {
    database: TestDatabase,
    factory: Factory,
    task: CreatedTask,
    hub: Hub,
    subscriber: DeviceCommands,
}

impl Desk {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let factory = Factory::new(&database.pool, 1).await;
        let order = factory.order("Cups", 1).await;
        let task = factory.batch(order, 0, 1).await.tasks.remove(0);
        let hub = Hub::new();
        let subscriber = Self::over(&hub, &factory.commands, &database);
        Self { database, factory, task, hub, subscriber }
    }

    fn over(hub: &Hub, commands: &Commands, database: &TestDatabase) -> DeviceCommands {
        DeviceCommands::new(hub.clone(), commands.clone(), Reads::new(database.pool.clone()), CallbackTokens::new(b"secret"), false)
    }

    /// The task, as if all that makes it so had happened.
    async fn put(&self, status: TaskStatus) {
        let episode = (status == TaskStatus::Completed).then_some(1_i64);
        let client = get(&self.database.pool).await.unwrap();
        let sql = "update tasks set status = $2, episode_id = $3 where id = $1";
        client.execute(sql, &[&self.task.id.0, &status.as_str(), &episode]).await.unwrap();
    }

    /// A connection as it is stored: its epoch.
    async fn stored(&self, connections: i64) -> i64 {
        let link = || OpenLink { device: device(0), kind: LinkKind::Recorder, remote: "a".into(), process: None };
        let mut epoch = 0;
        for _ in 0..connections {
            epoch = done(&self.factory.commands, link()).await;
        }
        epoch
    }

    /// A connection as this process has it.
    fn link(&self, kind: LinkKind, epoch: i64) -> (Arc<Lane>, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(4);
        let id = LinkId { device: device(0), kind, epoch, remote: String::new() };
        let lane = self.hub.enter(id, Now::read(), asks).expect("a newer epoch");
        self.hub.go_live(&lane);
        (lane, asked)
    }

    /// Asks something of the recorder over its stored connection: the command's id, and what is to be delivered.
    async fn command(&self, action: RecorderAction, config: Option<Value>, timeout: Duration) -> (String, Delivery) {
        let task = Some(self.task.public_id.clone());
        let ask = RequestDeviceCommand { config, timeout, ..asked(&device(0), action, task) };
        let command_id = done(&self.factory.commands, ask).await;
        (command_id, self.newest_command().await)
    }

    /// The command that was asked for last, as it is delivered.
    async fn newest_command(&self) -> Delivery {
        let client = get(&self.database.pool).await.unwrap();
        let sql = "select aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, seq, recorded_at
                   from events where event_type = 'device_command_requested' order by seq desc limit 1";
        let row = client.query_one(sql, &[]).await.unwrap();
        let event = StoredEvent {
            aggregate_type: row.get(0),
            aggregate_id: row.get(1),
            sequence: row.get(2),
            event_type: row.get(3),
            event_version: row.get(4),
            payload: row.get(5),
            metadata: row.get(6),
            seq: row.get(7),
            recorded_at: row.get(8),
        };
        Delivery {
            event,
            attempt: 1,
            destination: Some(Destination::Recorder(device(0))),
            deadline: None,
            causation_depth: 0,
            trace_parent: None,
        }
    }

    async fn begin(&self, timeout: Duration) -> Delivery {
        self.command(RecorderAction::Begin, None, timeout).await.1
    }

    async fn config(&self) -> (String, Delivery) {
        let config = json!({ "task_config": { "task_id": self.task.public_id, "operator_name": "Ada", "finish_callback_url": URL } });
        self.command(RecorderAction::Config, Some(config), SOON).await
    }

    fn about_task(&self, event_type: &str) -> Delivery {
        let event = StoredEvent {
            aggregate_type: "task".to_owned(),
            aggregate_id: self.task.id.to_string(),
            sequence: 1,
            event_type: event_type.to_owned(),
            event_version: "1.0".to_owned(),
            payload: json!({}),
            metadata: json!({}),
            seq: 1,
            recorded_at: Timestamp::UNIX_EPOCH,
        };
        Delivery {
            event,
            attempt: 1,
            destination: Some(Destination::Transfer(device(0))),
            deadline: None,
            causation_depth: 0,
            trace_parent: None,
        }
    }

    /// Why commands were not sent, in the order in which they were asked for.
    async fn reasons(&self) -> Vec<String> {
        let client = get(&self.database.pool).await.unwrap();
        let sql = "select k.message from device_commands k where k.status = 'not_sent' order by k.created_at, k.id";
        client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    async fn kept(&self) -> i64 {
        number(&self.database.pool, "select count(*) from command_params").await
    }
}

const SOON: Duration = Duration::from_secs(15);

fn rpc(asked: &mut mpsc::Receiver<Ask>) -> Rpc {
    match asked.try_recv() {
        Ok(Ask::Rpc(rpc)) => rpc,
        _ => panic!("nothing is sent"),
    }
}

#[tokio::test]
async fn a_command_goes_to_exactly_its_connection() {
    let desk = Desk::new().await;
    let (_lane, mut asked) = desk.link(LinkKind::Recorder, desk.stored(3).await);
    let (id, delivery) = desk.command(RecorderAction::Begin, None, SOON).await;
    assert_eq!(desk.subscriber.deliver(&delivery).await, Outcome::Delivered);
    let rpc = rpc(&mut asked);
    assert_eq!((rpc.command_id, rpc.action, rpc.params), (id, RecorderAction::Begin, json!({ "task_id": desk.task.public_id })));
    assert_eq!(desk.reasons().await, Vec::<String>::new());
}

/// What is asked for as a data collector who does not wait, and delivered after something happened.
async fn asked_and_gone(desk: &Desk, happened: &str) -> (Outcome, Option<Rpc>, Vec<String>) {
    let (_lane, mut asks) = desk.link(LinkKind::Recorder, desk.stored(1).await);
    let ask = RequestDeviceCommand { asynchronous: true, ..asked(&device(0), RecorderAction::Pause, None) };
    let who = Context::of(Actor::Collector(desk.factory.collectors[0]));
    desk.factory.commands.execute(&who, ask).await.unwrap();
    let delivery = desk.newest_command().await;
    get(&desk.database.pool).await.unwrap().batch_execute(happened).await.unwrap();
    let outcome = desk.subscriber.deliver(&delivery).await;
    let sent = asks.try_recv().ok().map(|ask| if let Ask::Rpc(rpc) = ask { rpc } else { panic!("something else") });
    (outcome, sent, desk.reasons().await)
}

#[tokio::test]
async fn what_nobody_waits_for_is_sent_while_its_caller_may_still_do_it() {
    let desk = Desk::new().await;
    let (outcome, sent, reasons) = asked_and_gone(&desk, "").await;
    assert_eq!((outcome, sent.is_some(), reasons), (Outcome::Delivered, true, vec![]));
    // Another's robot, an account that may not log in, none at all: in the moment in which it is to be sent.
    let (account, robot) =
        ("the account of the caller is gone, or not active any more", "the robot does not belong to the station of the caller any more");
    let mut expected = vec![];
    for (happened, reason) in [
        ("update stations set is_current = false", robot),
        ("update stations set is_current = true; update data_collectors set status = 'inactive'", account),
        ("delete from data_collectors", account),
    ] {
        let (outcome, sent, reasons) = asked_and_gone(&desk, happened).await;
        expected.push(reason);
        assert_eq!(
            (outcome, sent.map(|rpc| rpc.command_id), reasons),
            (Outcome::Delivered, None, expected.iter().map(|&r| r.to_owned()).collect())
        );
    }
    let causes = "select count(*) from device_commands where status = 'not_sent' and data ->> 'cause' = 'not_permitted'";
    assert_eq!(number(&desk.database.pool, causes).await, 3);
}

#[tokio::test]
async fn what_is_waited_for_was_looked_at_when_it_was_asked_for() {
    let desk = Desk::new().await;
    let (_lane, mut asks) = desk.link(LinkKind::Recorder, desk.stored(1).await);
    let who = Context::of(Actor::Collector(desk.factory.collectors[0]));
    desk.factory.commands.execute(&who, asked(&device(0), RecorderAction::Pause, None)).await.unwrap();
    get(&desk.database.pool).await.unwrap().batch_execute("delete from data_collectors").await.unwrap();
    assert_eq!(desk.subscriber.deliver(&desk.newest_command().await).await, Outcome::Delivered);
    assert_eq!(rpc(&mut asks).action, RecorderAction::Pause);
}

#[tokio::test]
async fn a_caller_without_a_login_may_go_as_long_as_the_site_takes_such() {
    let desk = Desk::new().await;
    let (_lane, mut asks) = desk.link(LinkKind::Recorder, desk.stored(1).await);
    let ask = RequestDeviceCommand { asynchronous: true, ..asked(&device(0), RecorderAction::Pause, None) };
    desk.factory.commands.execute(&Context::of(Actor::Anonymous), ask).await.unwrap();
    let delivery = desk.newest_command().await;
    let reads = Reads::new(desk.database.pool.clone());
    let open = DeviceCommands::new(desk.hub.clone(), desk.factory.commands.clone(), reads, CallbackTokens::new(b"secret"), true);
    assert_eq!(open.deliver(&delivery).await, Outcome::Delivered);
    assert_eq!(rpc(&mut asks).action, RecorderAction::Pause);
    assert_eq!(desk.subscriber.deliver(&delivery).await, Outcome::Delivered);
    assert!(asks.try_recv().is_err());
    assert_eq!(desk.reasons().await, ["this needs a login now, and the caller had none"]);
}

#[tokio::test]
async fn the_links_of_a_configuration_get_the_tokens_of_their_task_on_the_way_out() {
    let desk = Desk::new().await;
    let (_lane, mut asked) = desk.link(LinkKind::Recorder, desk.stored(3).await);
    let (_, mut delivery) = desk.config().await;
    let token = CallbackTokens::new(b"secret").token(&desk.task.public_id, &device(0));
    let sent = |url: String| json!({ "task_id": desk.task.public_id, "operator_name": "Ada", "finish_callback_url": url });
    assert_eq!(desk.subscriber.deliver(&delivery).await, Outcome::Delivered);
    assert_eq!(rpc(&mut asked).params["task_config"], sent(format!("{URL}?token={token}")));
    assert!(!delivery.event.payload.to_string().contains("token="));
    // As older versions asked for it: what is sent stands in the event, and the last but one gave a token.
    for with_token in [false, true] {
        let payload = &mut delivery.event.payload["device_command_requested"];
        payload["params"] = json!({ "task_config": { "task_id": desk.task.public_id, "finish_callback_url": URL } });
        payload["callback_token"] = json!(with_token);
        payload.as_object_mut().unwrap().remove("params_beside");
        assert_eq!(desk.subscriber.deliver(&delivery).await, Outcome::Delivered);
        let url = if with_token { format!("{URL}?token={token}") } else { URL.to_owned() };
        let sent = json!({ "task_id": desk.task.public_id, "finish_callback_url": url });
        assert_eq!(rpc(&mut asked).params["task_config"], sent);
    }
    assert!(!delivery.event.payload.to_string().contains("token="));
}

#[tokio::test]
async fn a_command_that_cannot_be_sent_any_more_is_settled_instead() {
    let desk = Desk::new().await;
    let epoch = desk.stored(2).await;
    let late = desk.begin(Duration::ZERO).await;
    let (lane, asked) = desk.link(LinkKind::Recorder, epoch);
    assert_eq!(desk.subscriber.deliver(&late).await, Outcome::Delivered);
    drop(asked);
    assert_eq!(desk.subscriber.deliver(&desk.begin(SOON).await).await, Outcome::Delivered);
    desk.hub.leave(&lane);
    assert_eq!(desk.subscriber.deliver(&desk.begin(SOON).await).await, Outcome::Delivered);
    // A newer one is here already, and not stored yet.
    let (_lane, _asked) = desk.link(LinkKind::Recorder, epoch + 1);
    assert_eq!(desk.subscriber.deliver(&desk.begin(SOON).await).await, Outcome::Delivered);
    let lost = "the connection was lost";
    assert_eq!(desk.reasons().await, ["the deadline was over", lost, lost, "the connection was replaced"]);
}

#[tokio::test]
async fn a_command_for_a_newer_connection_elsewhere_is_left_to_the_process_that_has_it() {
    let desk = Desk::new().await;
    let (lane, _asked) = desk.link(LinkKind::Recorder, 3);
    desk.stored(4).await;
    let begin = desk.begin(SOON).await;
    assert!(matches!(desk.subscriber.deliver(&begin).await, Outcome::NotHere { .. }));
    // Ours is stale: it is told to go, and its handshake cannot come back.
    assert!(lane.replaced.is_cancelled());
    desk.hub.leave(&lane);
    assert!(matches!(desk.subscriber.deliver(&begin).await, Outcome::NotHere { .. }));
    assert_eq!(desk.reasons().await, Vec::<String>::new());
    // The device may come to us with exactly that connection.
    desk.link(LinkKind::Recorder, 4);
}

#[tokio::test]
async fn what_a_recorder_is_configured_with_is_kept_until_the_command_is_settled() {
    let desk = Desk::new().await;
    let (_lane, mut asked) = desk.link(LinkKind::Recorder, desk.stored(1).await);
    let (command_id, delivery) = desk.config().await;
    assert!(!delivery.event.payload.to_string().contains("Ada"), "{}", delivery.event.payload);
    // The version before finds every field that it knows, and a command without content: no recorder takes one.
    let before: Value = serde_json::from_str(include_str!("../golden/events/device_command_requested.v1.2.json")).unwrap();
    let (before, now) = (&before["device_command_requested"], &delivery.event.payload["device_command_requested"]);
    assert!(before.as_object().unwrap().keys().all(|field| now.get(field).is_some()) && now["params"].is_null(), "{now}");
    // Killed after the frame had left, before the row was settled: the same again, which the session takes once.
    let twice = [desk.subscriber.deliver(&delivery).await, desk.subscriber.deliver(&delivery).await];
    assert_eq!(twice, [Outcome::Delivered, Outcome::Delivered]);
    let (first, second) = (rpc(&mut asked), rpc(&mut asked));
    assert_eq!((&first.command_id, &first.params), (&second.command_id, &second.params));
    assert_eq!((first.params["task_config"]["operator_name"].as_str(), desk.kept().await), (Some("Ada"), 1));

    let outcome = CommandOutcome::Succeeded { message: None, data: None };
    done(&desk.factory.commands, SettleDeviceCommand { device: device(0), command_id, outcome }).await;
    assert_eq!(desk.kept().await, 0);
    // The answer came first: there is nothing left to send, and the answer stays.
    assert_eq!(desk.subscriber.deliver(&delivery).await, Outcome::Delivered);
    assert!(asked.try_recv().is_err());
    assert_eq!(number(&desk.database.pool, "select count(*) from device_commands where status = 'succeeded'").await, 1);
    let settled = "select count(*) from events where event_type in ('device_command_settled', 'device_command_answered_late')";
    assert_eq!(number(&desk.database.pool, settled).await, 1);
}

#[tokio::test]
async fn what_is_settled_with_its_connection_is_not_kept_either() {
    let desk = Desk::new().await;
    desk.stored(1).await;
    desk.config().await;
    assert_eq!(desk.kept().await, 1);
    desk.stored(1).await;
    assert_eq!(desk.kept().await, 0);
}

/// A dead letter that is replayed, or a row that waited for longer than a day.
#[tokio::test]
async fn a_command_whose_content_is_gone_is_settled_as_not_sent() {
    let desk = Desk::new().await;
    let (_lane, mut asked) = desk.link(LinkKind::Recorder, desk.stored(1).await);
    let (_, delivery) = desk.config().await;
    let clock = |hours: i64| {
        let now = chrono::Utc::now() + chrono::TimeDelta::hours(hours);
        Commands::with_clock(desk.factory.store.clone(), Arc::new(move || now))
    };
    clock(23).forget_old_params().await.unwrap();
    assert_eq!(desk.kept().await, 1);
    clock(25).forget_old_params().await.unwrap();
    assert_eq!(desk.kept().await, 0);
    assert_eq!(desk.subscriber.deliver(&delivery).await, Outcome::Delivered);
    assert!(asked.try_recv().is_err());
    assert_eq!(desk.reasons().await, ["what it is sent with is not kept any more"]);
}

#[tokio::test]
async fn a_dead_letter_keeps_what_failed_with_all_its_causes() {
    let desk = Desk::new().await;
    let (_lane, _asked) = desk.link(LinkKind::Transfer, 1);
    let finished = FinishCallback {
        task_id: desk.task.public_id.clone(),
        device_id: device(0),
        report: FinishReport::default(),
        proof: Proof::NotAsked,
    };
    let seen = Report::Observed { state: RecorderState::Recording, task: Some(desk.task.public_id.clone()), source: "state_update".into() };
    done(&desk.factory.commands, recorder_tells(&device(0), desk.stored(1).await, seen)).await;
    done(&desk.factory.commands, finished).await;
    assert_eq!(waiting(&desk.database.pool).await, 1);
    // The worker reaches the outbox, and no table beside it.
    let nobody = Secret::new("postgres://keystone@127.0.0.1:1/keystone");
    let away = Reads::new(TestDatabase::of(nobody, desk.database.superuser_url.clone()).pool);
    let subscriber = DeviceCommands::new(desk.hub.clone(), desk.factory.commands.clone(), away, CallbackTokens::new(b"secret"), false);
    let running = dispatch(&desk.database.pool, Arc::new(subscriber), settings(), "w");
    until_empty(&desk.database.pool).await;
    running.stop().await;
    let client = get(&desk.database.pool).await.unwrap();
    let row = client.query_one("select reason, failures from dead_letters", &[]).await.unwrap();
    let (reason, failures): (String, Value) = (row.get(0), row.get(1));
    let errors: Vec<&str> = failures.as_array().unwrap().iter().filter_map(|failure| failure["error"].as_str()).collect();
    let said =
        "the database is not available: the database cannot be reached: error connecting to server: Connection refused (os error 111)";
    assert_eq!((reason.as_str(), errors), ("attempts_used_up", vec![said; 3]));
}

#[tokio::test]
async fn an_ack_is_sent_for_a_completed_task_and_for_no_other() {
    let desk = Desk::new().await;
    for (epoch, event_type) in ["upload_verified", "upload_ack_requested"].into_iter().enumerate() {
        for &status in TaskStatus::ALL {
            let word = status.as_str();
            desk.put(status).await;
            let hub = Hub::new();
            let subscriber = Desk::over(&hub, &desk.factory.commands, &desk.database);
            let (asks, mut asked) = mpsc::channel(4);
            let epoch = i64::try_from(epoch).unwrap() + 1;
            let id = LinkId { device: device(0), kind: LinkKind::Transfer, epoch, remote: String::new() };
            let lane = hub.enter(id, Now::read(), asks).unwrap();
            hub.go_live(&lane);
            let told = tokio::spawn(async move {
                let Some(Ask::Frame { frame, written }) = asked.recv().await else { return None };
                written.send(()).unwrap();
                Some(frame)
            });
            let outcome = subscriber.deliver(&desk.about_task(event_type)).await;
            if status == TaskStatus::Completed {
                assert_eq!(outcome, Outcome::Delivered);
                assert_eq!(told.await.unwrap(), Some(ToTransfer::UploadAck { task_id: desk.task.public_id.to_string() }));
            } else {
                assert!(matches!(outcome, Outcome::Permanent { .. }), "{word}");
                assert!(!told.is_finished(), "{word}");
            }
        }
    }
}

#[tokio::test]
async fn an_upload_is_asked_for_while_it_is_wanted() {
    let desk = Desk::new().await;
    desk.put(TaskStatus::Uploading).await;
    for event_type in ["recording_finished", "upload_requested_again"] {
        // No link is there: the row waits.
        assert!(matches!(desk.subscriber.deliver(&desk.about_task(event_type)).await, Outcome::NotHere { .. }));
        let (lane, mut asked) = desk.link(LinkKind::Transfer, desk.hub.newest_epoch(&device(0), LinkKind::Transfer) + 1);
        // The connection is lost before the frame leaves: again.
        let again = desk.about_task(event_type);
        let (outcome, ()) = tokio::join!(desk.subscriber.deliver(&again), async {
            let Some(Ask::Frame { frame, written }) = asked.recv().await else { panic!("something else") };
            assert_eq!(frame, ToTransfer::UploadRequest { task_id: desk.task.public_id.to_string(), priority: 1 });
            drop(written);
        });
        assert_eq!(outcome, Outcome::NotHere { error: SendError::Lost.to_string() });
        desk.hub.leave(&lane);
    }
    desk.put(TaskStatus::Completed).await;
    assert_eq!(desk.subscriber.deliver(&desk.about_task("recording_finished")).await, Outcome::Delivered);
}

#[tokio::test]
async fn what_was_given_up_is_asked_for_while_it_is_missed() {
    let desk = Desk::new().await;
    for (epoch, (status, asked_for)) in
        [(TaskStatus::Failed, true), (TaskStatus::Completed, false), (TaskStatus::Cancelled, false)].into_iter().enumerate()
    {
        desk.put(status).await;
        let (_lane, mut asked) = desk.link(LinkKind::Transfer, i64::try_from(epoch).unwrap() + 1);
        let about = desk.about_task("failed_upload_requested");
        if asked_for {
            let answer = async {
                let Some(Ask::Frame { frame, written }) = asked.recv().await else { panic!("something else") };
                written.send(()).unwrap();
                frame
            };
            let (outcome, frame) = tokio::join!(desk.subscriber.deliver(&about), answer);
            assert_eq!((outcome, frame), (Outcome::Delivered, ToTransfer::UploadAll {}));
        } else {
            assert_eq!(desk.subscriber.deliver(&about).await, Outcome::Delivered);
            assert!(asked.try_recv().is_err());
        }
    }
}

#[tokio::test]
async fn all_that_was_given_up_is_asked_for_once_on_a_connection() {
    let desk = Desk::new().await;
    desk.put(TaskStatus::Failed).await;
    let asked_for = async |desk: &Desk, abouts: Vec<Delivery>| {
        let epoch = desk.hub.newest_epoch(&device(0), LinkKind::Transfer) + 1;
        let (_lane, mut asked) = desk.link(LinkKind::Transfer, epoch);
        let uploader = tokio::spawn(async move {
            let mut frames = 0;
            while let Some(Ask::Frame { written, .. }) = asked.recv().await {
                // The first one is lost on its way, once.
                frames += 1;
                if frames > 1 {
                    written.send(()).unwrap();
                }
            }
            frames
        });
        for about in abouts {
            let mut tries = 0;
            while desk.subscriber.deliver(&about).await != Outcome::Delivered {
                tries += 1;
                assert_eq!(tries, 1);
            }
        }
        // Its connection is replaced, and with it ends what is asked over it.
        desk.link(LinkKind::Transfer, epoch + 1);
        drop(_lane);
        uploader.await.unwrap()
    };
    let about = || desk.about_task("failed_upload_requested");
    assert_eq!(asked_for(&desk, (0..150).map(|_| about()).collect()).await, 2);
    // Whatever was asked over another connection.
    assert_eq!(asked_for(&desk, vec![about(), about()]).await, 2);
    // What is given up after it was asked is not among what it looked for.
    let mut later = about();
    later.event.recorded_at = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    assert_eq!(asked_for(&desk, vec![about(), about(), later]).await, 3);
}

#[tokio::test]
async fn only_devices_whose_sockets_are_here_are_served() {
    let desk = Desk::new().await;
    let here = |destination: fn(DeviceId) -> Destination| desk.subscriber.reaches(&destination(device(0)));
    assert!(!here(Destination::Recorder) && !here(Destination::Transfer));
    let (_recorder, _asked) = desk.link(LinkKind::Recorder, 1);
    let (transfer, _asks) = desk.link(LinkKind::Transfer, 1);
    let other = Destination::Recorder(device(1));
    assert!(here(Destination::Recorder) && here(Destination::Transfer) && !desk.subscriber.reaches(&other));
    desk.hub.leave(&transfer);
    assert!(here(Destination::Recorder) && !here(Destination::Transfer));
}
