//! What the tools say of a sound log, beside a busy server and after an orderly stop: that it is sound.

use std::time::Duration;

use keystone_edge::eventstore::log::{self, Breach};
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use serde_json::json;

use crate::factory::{Factory, place_all};
use crate::harness::bench::Bench;
use crate::harness::device::Socket;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, temp_folder};

/// What the program answers with where it looked and found everything right, or something broken.
const SOUND: i32 = 0;
const BROKEN: i32 = 1;
const NOT_LOOKED: i32 = 2;

#[tokio::test]
async fn an_event_that_waits_for_its_position_is_no_breach() {
    let database = TestDatabase::new().await;
    let factory = Factory::new(&database.pool, 1).await;
    place_all(&database.connector).await;
    factory.order("Cups", 5).await;
    assert_eq!(log::verify(&database.pool).await.unwrap(), []);
    assert_eq!(log::head(&database.pool).await.unwrap().unplaced, 1);
}

#[tokio::test]
async fn what_the_sequencer_passed_over_is_missing_while_later_events_wait() {
    let database = TestDatabase::new().await;
    let factory = Factory::new(&database.pool, 1).await;
    place_all(&database.connector).await;
    let (superuser, connection) = tokio_postgres::connect(database.superuser_url.expose(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    superuser.batch_execute("set session_replication_role = replica; delete from log where position = 2").await.unwrap();
    factory.order("Cups", 5).await;
    let missing: Vec<Breach> =
        log::verify(&database.pool).await.unwrap().into_iter().filter(|breach| matches!(breach, Breach::Missing { .. })).collect();
    assert_eq!(missing.len(), 1, "{missing:?}");
}

#[tokio::test]
async fn the_exit_code_says_whether_the_log_is_broken() {
    let database = TestDatabase::new().await;
    let factory = Factory::new(&database.pool, 1).await;
    place_all(&database.connector).await;
    factory.order("Cups", 5).await;
    let folder = temp_folder();
    let mut server = Server::sharing(folder.path(), &database.url, "http://127.0.0.1:9");
    for tool in ["verify", "rebuild"] {
        let (code, said) = server.tool(&[tool]).await;
        assert_eq!(code, SOUND, "{tool}: {said}");
        assert!(said.contains("1 not placed yet"), "{tool}: {said}");
    }
    let (superuser, connection) = tokio_postgres::connect(database.superuser_url.expose(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let damage = "set session_replication_role = replica; update events set payload = '{}' where seq = 2; delete from orders";
    superuser.batch_execute(damage).await.unwrap();
    let (code, said) = server.tool(&["verify"]).await;
    assert_eq!((code, said.contains("BROKEN")), (BROKEN, true), "{said}");
    superuser.batch_execute("update events set payload = '{\"nothing\": {}}' where seq = 2").await.unwrap();

    let elsewhere = database.url.expose().replace("/test_", "/no_such_database_");
    server.settings[0].1 = elsewhere;
    for tool in ["verify", "rebuild"] {
        let (code, said) = server.tool(&[tool]).await;
        assert_eq!(code, NOT_LOOKED, "{tool}: {said}");
    }
}

#[tokio::test]
async fn a_wrong_folder_or_database_is_an_error_and_nothing_is_made_there() {
    let folder = temp_folder();
    let wrong = folder.path().join("wrong");
    std::fs::create_dir(&wrong).unwrap();
    let server = Server::new(&wrong);
    for tool in [&["verify"][..], &["rebuild"], &["events", "--task", "t"]] {
        let (code, said) = server.tool(tool).await;
        assert_ne!(code, SOUND, "{tool:?}: {said}");
        assert!(said.contains("there is no database in"), "{tool:?}: {said}");
        assert!(said.contains("KEYSTONE_DATA_DIR") && said.contains("KEYSTONE_DATABASE_URL"), "{tool:?}: {said}");
        assert!(!wrong.join("data").exists(), "{tool:?} made something");
    }
    // One where a start was given up before there was a cluster.
    std::fs::create_dir_all(wrong.join("data/postgres")).unwrap();
    for tool in [&["verify"][..], &["rebuild"], &["events", "--task", "t"]] {
        let (code, said) = server.tool(tool).await;
        assert_ne!(code, SOUND, "{tool:?}: {said}");
        assert!(said.contains("there is no database in"), "{tool:?}: {said}");
        assert!(!wrong.join("data/postgres/data").exists(), "{tool:?} made something");
    }

    // Of an older version, or somebody else's.
    let database = TestDatabase::new().await;
    let server = Server::sharing(folder.path(), &database.url, "http://127.0.0.1:9");
    let forget = "delete from refinery_schema_history where version = (select max(version) from refinery_schema_history)";
    for damage in [forget, "drop table refinery_schema_history"] {
        database.as_superuser(damage).await;
        for tool in [&["verify"][..], &["rebuild"], &["events", "--task", "t"]] {
            let (code, said) = server.tool(tool).await;
            assert_ne!(code, SOUND, "{tool:?}: {said}");
            assert!(said.contains("migrations are missing"), "{tool:?}: {said}");
        }
    }
}

/// Who looks at a database of their own needs its address, and no secret of the server.
#[tokio::test]
async fn a_tool_asks_for_the_database_and_for_nothing_else() {
    let (database, empty) = (TestDatabase::new().await, TestDatabase::empty().await);
    let folder = temp_folder();
    let mut server = Server::sharing(folder.path(), &database.url, "");
    server.settings.retain(|(name, _)| *name == "KEYSTONE_DATABASE_URL");
    server.settings.push(("KEYSTONE_ADMIN_PASSWORD", "short".to_owned()));
    server.settings.push(("KEYSTONE_S3_SECRET_KEY", "short".to_owned()));
    // As an older version left it, and so does one that is killed.
    database.as_superuser("create schema rebuilt authorization current_user; create table rebuilt.orders (id bigint)").await;
    let owner = "do $$ begin execute format('alter schema rebuilt owner to %I', (select pg_get_userbyid(relowner) from pg_class where oid = 'public.orders'::regclass)); end $$";
    database.as_superuser(owner).await;
    for tool in ["verify", "rebuild"] {
        let (code, said) = server.tool(&[tool]).await;
        assert_eq!(code, SOUND, "{tool}: {said}");
    }
    let left = "select count(*) from pg_namespace where nspname = 'rebuilt'";
    assert_eq!(crate::outbox::number(&database.pool, left).await, 0, "`rebuild` leaves a schema behind");
    let (_, said) = server.tool(&["events", "--task", "t"]).await;
    assert!(said.contains("there is no task `t`"), "{said}");

    server.settings[0].1 = empty.url.expose().to_owned();
    for tool in [&["verify"][..], &["rebuild"], &["events", "--task", "t"]] {
        let (code, said) = server.tool(tool).await;
        assert_ne!(code, SOUND, "{tool:?}: {said}");
        assert!(said.contains("KEYSTONE_DATABASE_URL"), "{tool:?}: {said}");
    }
    let tables = "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'";
    assert_eq!(crate::outbox::number(&empty.pool, tables).await, 0, "a tool made tables");
    let (code, said) = server.tool(&["migrate"]).await;
    assert_eq!(code, SOUND, "{said}");
    assert!(!folder.path().join("data").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_orderly_stop_with_robots_connected_every_event_has_its_position() {
    let mut bench = Bench::start().await;
    for _ in 0..2 {
        let (recorder, _transfer) = bench.sockets().await;
        let idle = json!({ "type": "state_update", "timestamp": 1, "data": { "previous": "idle", "current": "idle" } });
        recorder.send(&idle).await;
        let mut others = vec![];
        for n in 0..10 {
            others.push(
                Socket::try_connect(&bench.server.address(1), &format!("/recorder/{}", bench.device), &format!("X-N: {n}\r\n")).await,
            );
        }
        bench.server.stop().await;
        for tool in ["verify", "rebuild"] {
            let (code, said) = bench.server.tool(&[tool]).await;
            assert_eq!(code, SOUND, "{tool}: {said}");
            assert!(said.contains(" 0 not placed yet"), "{tool}: {said}");
        }
        bench.server.start();
        bench.server.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_busy_server_the_log_is_called_sound() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    let made = factory::seed(&client, "Busy", 1).await.expect("a factory");
    let mut busy = tokio::task::JoinSet::new();
    for n in 0..4 {
        let (client, made) = (client.clone(), made.clone());
        busy.spawn(async move {
            for order in 0.. {
                let order = factory::place_order(&client, &made, &format!("Order {n} {order}"), 2).await.expect("an order");
                factory::dispatch(&client, &made, order, &made.stations[0], 2).await.expect("a batch");
            }
        });
    }
    let rounds = std::env::var("CAMPAIGN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for round in 0..rounds {
        for tool in ["verify", "rebuild"] {
            let (code, said) = server.tool(&[tool]).await;
            assert_eq!(code, SOUND, "{tool}, round {round}: {said}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    busy.abort_all();
    while busy.join_next().await.is_some_and(|ended| ended.is_ok() || ended.is_err_and(|error| error.is_cancelled())) {}
}
