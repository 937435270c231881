//! Connections, errors and migrations on a real Postgres.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keystone_edge::config::{Config, Secret};
use keystone_edge::dispatcher::hear_and_tell;
use keystone_edge::outbox::Wakes;
use keystone_edge::pg::{Connector, Fault, PgError, fault, get};
use tokio_util::sync::CancellationToken;

use crate::harness::relay::Relay;
use crate::harness::{PrivatePostgres, TestDatabase, address_of, postgres_options, through, until};

#[tokio::test]
async fn faults_are_told_apart() {
    let database = TestDatabase::new().await;
    let client = get(&database.pool).await.unwrap();
    client
        .batch_execute(
            "create table thing (id int constraint thing_once primary key, size int constraint size_is_positive check (size > 0));
             insert into thing values (1, 1)",
        )
        .await
        .unwrap();
    for (statement, expected) in [
        ("insert into thing values (1, 1)", Fault::Unique { constraint: "thing_once" }),
        ("insert into thing values (2, 0)", Fault::Check { constraint: "size_is_positive" }),
        ("do $$ begin raise sqlstate '40001'; end $$", Fault::Serialization),
        ("do $$ begin raise sqlstate '40P01'; end $$", Fault::Deadlock),
        ("set statement_timeout = 1; select pg_sleep(1)", Fault::Unavailable),
        ("select", Fault::Other),
    ] {
        match client.batch_execute(statement).await {
            Err(error) => assert_eq!(fault(&error), expected, "{statement}"),
            Ok(()) => assert_eq!(expected, Fault::Other, "{statement}"),
        }
    }
}

#[tokio::test]
async fn a_lost_connection_is_unavailable_and_the_pool_recovers() {
    let mut private = PrivatePostgres::start().await;
    let pool = private.connector().pool().unwrap();
    let client = get(&pool).await.unwrap();
    private.kill().await;
    // The session's own process may outlive the server by a moment.
    let mut ended = None;
    until("the session ends", async || {
        ended = client.batch_execute("select 1").await.err();
        ended.is_some()
    })
    .await;
    let error = ended.expect("its end");
    assert_eq!(fault(&error), Fault::Unavailable, "{error:?}");
    drop(client);

    private.start_again().await;
    until("a working connection", async || match get(&pool).await {
        Ok(client) => client.batch_execute("select 1").await.is_ok(),
        Err(_) => false,
    })
    .await;
    drop(pool);
    private.stop().await;
}

#[tokio::test]
async fn sessions_carry_our_timeouts_and_name() {
    let database = TestDatabase::new().await;
    let client = get(&database.pool).await.unwrap();
    let row = client
        .query_one(
            "select current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'), current_setting('application_name')",
            &[],
        )
        .await
        .unwrap();
    let values: Vec<&str> = (0..3).map(|column| row.get(column)).collect();
    assert_eq!(values, ["15s", "10s", "keystone-edge"]);
}

#[tokio::test]
async fn processes_that_start_at_once_migrate_once() {
    let database = TestDatabase::new().await;
    let migrate = || database.connector.migrate();
    let (first, second, third) = tokio::join!(migrate(), migrate(), migrate());
    first.and(second).and(third).unwrap();
}

#[tokio::test]
async fn a_schema_newer_than_the_program_is_left_alone() {
    let database = TestDatabase::new().await;
    let client = get(&database.pool).await.unwrap();
    client
        .batch_execute(
            "insert into refinery_schema_history (version, name, applied_on, checksum)
             values (999999, 'from_the_future', '2031-01-01T00:00:00Z', '1')",
        )
        .await
        .unwrap();
    database.connector.migrate().await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_left_alone_and_says_so() {
    let database = TestDatabase::new().await;
    let name = format!("ascii_{}", uuid::Uuid::new_v4().simple());
    let make = format!("create database {name} template template0 owner keystone encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'");
    database.as_superuser(&make).await;
    let (server, _) = database.url.expose().rsplit_once('/').unwrap();
    let connector = Connector::new(&Secret::new(format!("{server}/{name}")), &Config::defaults().database).unwrap();
    let refused = connector.migrate().await.unwrap_err().to_string();
    assert!(
        refused.contains("SQL_ASCII") && refused.contains(&name) && refused.contains("encoding 'UTF8' template template0"),
        "{refused}"
    );
    let tables = "select count(*) from pg_class where relnamespace = 'public'::regnamespace";
    let made: i64 = connector.connect().await.unwrap().client.query_one(tables, &[]).await.unwrap().get(0);
    assert_eq!(made, 0);
}

#[tokio::test]
async fn a_full_pool_says_that_it_is_busy() {
    let database = TestDatabase::new().await;
    let mut held = Vec::new();
    for _ in 0..database.pool.status().max_size {
        held.push(get(&database.pool).await.unwrap());
    }
    let mut pool = database.pool.clone();
    let timeouts = deadpool_postgres::Timeouts { wait: Some(std::time::Duration::from_millis(10)), ..pool.timeouts() };
    let error = PgError::from(pool.timeout_get(&timeouts).await.unwrap_err());
    assert!(matches!(error, PgError::Busy), "{error:?}");
    pool = database.pool.clone();
    drop(held);
    let _client = get(&pool).await.unwrap();
}

#[tokio::test]
async fn a_dedicated_connection_hears_notifications() {
    let database = TestDatabase::new().await;
    let mut listener = database.connector.connect().await.unwrap();
    listener.client.batch_execute("listen woken").await.unwrap();
    let client = get(&database.pool).await.unwrap();
    client.batch_execute("notify woken, 'please'").await.unwrap();
    let notification = listener.notifications.recv().await.unwrap();
    assert_eq!(notification.payload(), "please");
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once() {
    let database = TestDatabase::new().await;
    let mut url = database.url.expose().to_owned();
    let at = url.find('@').unwrap();
    url.replace_range(at - 8..at, "00000000");
    let settings = keystone_edge::config::Config::defaults().database;
    let connector = keystone_edge::pg::Connector::new(&keystone_edge::config::Secret::new(url), &settings).unwrap();
    let start = std::time::Instant::now();
    assert!(connector.migrate().await.is_err());
    assert!(start.elapsed() < settings.start_timeout);
}

#[tokio::test]
async fn a_password_beside_the_url_may_have_any_character() {
    let private = PrivatePostgres::start_with(postgres_options().volatile()).await;
    let url = private.postgres.as_ref().unwrap().url().expose().to_owned();
    let odd = r#"p@s:s/w%rd$1#"&' x\ü"#;
    let given = Connector::new(&Secret::new(url.as_str()), &Config::defaults().database).unwrap();
    let statement = format!("alter role current_user password '{}'", odd.replace('\'', "''"));
    given.connect().await.unwrap().client.batch_execute(&statement).await.unwrap();
    let (user, place) = url.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
    let without = format!("postgres://{}@{place}", user.split(':').next().unwrap());
    let with = |password: &str| {
        let settings = [
            ("KEYSTONE_DATABASE_URL", without.as_str()),
            ("KEYSTONE_DATABASE_PASSWORD", password),
            ("KEYSTONE_JWT_SECRET", "a secret of this test that is long enough"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::from_parts(None, &BTreeMap::from(settings)).unwrap();
        Connector::new(config.database.url.as_ref().unwrap(), &config.database).unwrap()
    };
    with(odd).connect().await.unwrap();
    assert!(with("another").connect().await.is_err());
}

#[tokio::test]
async fn tls_that_the_server_does_not_offer_is_an_error_and_not_ignored() {
    let database = TestDatabase::new().await;
    let url = format!("{}?sslmode=require", database.url.expose());
    let settings = keystone_edge::config::Config::defaults().database;
    let connector = keystone_edge::pg::Connector::new(&keystone_edge::config::Secret::new(url), &settings);
    match connector {
        Ok(connector) => assert!(connector.connect().await.is_err()),
        Err(error) => assert!(matches!(error, PgError::NoCertificates(_)), "{error:?}"),
    }
}

/// By way of a relay, with statements of a second.
fn hurried(database: &TestDatabase) -> (Relay, Connector) {
    let relay = Relay::to(address_of(&database.url));
    let settings = Config::from_parts(Some(("", "[database]\nstatement_timeout_s = 1")), &BTreeMap::new()).expect("settings").database;
    let connector = Connector::new(&through(&relay, &database.url), &settings).expect("a valid url");
    (relay, connector)
}

/// Ends soon, whatever happens.
async fn soon<T>(what: &str, end: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(8), end).await.unwrap_or_else(|_| panic!("no end of {what}"))
}

#[tokio::test]
async fn no_wait_on_a_swallowed_connection_is_without_an_end() {
    let database = TestDatabase::new().await;
    let (relay, connector) = hurried(&database);
    let pool = connector.pool().unwrap();
    let mut held = vec![];
    for _ in 0..pool.status().max_size {
        let client = get(&pool).await.unwrap();
        client.batch_execute("select 1").await.unwrap();
        held.push(client);
    }
    let mut transaction = held.pop().unwrap();
    let transaction = transaction.transaction().await.unwrap();
    let dedicated = connector.connect().await.unwrap();
    let listening = connector.connect().await.unwrap();
    let (wakes, stop) = (Wakes::default(), CancellationToken::new());
    let mut hearing = Box::pin(hear_and_tell(listening, &wakes, &stop));
    let _listens = tokio::time::timeout(Duration::from_millis(500), &mut hearing).await;
    let idle = held.split_off(2);
    drop(idle);

    relay.swallow_existing();
    let error = soon("a query", held[0].query_one("select 1", &[])).await.unwrap_err();
    assert_eq!(fault(&error), Fault::Unavailable, "{error:?}");
    // Those that were idle are not tried one after the other.
    let since = Instant::now();
    for _ in 0..4 {
        get(&pool).await.unwrap().query_one("select 1", &[]).await.unwrap();
    }
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(soon("a statement to prepare", held[1].prepare("select 2")).await.is_err());
    assert!(soon("a commit", transaction.commit()).await.is_err());
    assert!(soon("a dedicated connection", dedicated.client.batch_execute("select 1")).await.is_err());
    let heard = soon("a connection that only listens", hearing).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_unavailable() {
    let database = TestDatabase::new().await;
    let (relay, connector) = hurried(&database);
    relay.never_answer_new();
    let error = soon("a connection of the pool", get(&connector.pool().unwrap())).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Unavailable, "{error:?}");
    let error = soon("a dedicated connection", connector.connect()).await.err().expect("no connection");
    assert_eq!(error.fault(), Fault::Unavailable, "{error:?}");
}

#[tokio::test]
async fn a_statement_that_is_slow_and_allowed_to_be_is_waited_for() {
    let database = TestDatabase::new().await;
    let (_relay, connector) = hurried(&database);
    let client = connector.connect().await.unwrap();
    let slow = "select pg_sleep(2)";
    let error = client.client.batch_execute(slow).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "Postgres itself said so: {error:?}");
    client.allow(Duration::from_secs(10)).await.unwrap();
    client.client.batch_execute(slow).await.unwrap();
    client.allow_the_usual().await.unwrap();
    assert!(client.client.batch_execute(slow).await.is_err());
    // Idle for longer than any answer may take, and as good as before.
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.client.batch_execute("select 1").await.unwrap();
}

#[tokio::test]
async fn a_copy_as_slow_as_its_reader_is_waited_for() {
    use futures_util::SinkExt as _;
    let database = TestDatabase::new().await;
    let (_relay, connector) = hurried(&database);
    let client = connector.connect().await.unwrap();
    client.client.batch_execute("create temporary table copied (n int); set statement_timeout = 0").await.unwrap();
    let sink = client.client.copy_in("copy copied from stdin").await.unwrap();
    let mut sink = Box::pin(sink);
    for n in 0..3 {
        sink.send(bytes::Bytes::from(format!("{n}\n"))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    sink.as_mut().finish().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let count: i64 = client.client.query_one("select count(*) from copied", &[]).await.unwrap().get(0);
    assert_eq!(count, 3);
}

#[tokio::test]
async fn a_server_on_this_machine_is_reached_by_its_socket() {
    let (database, folder) = (TestDatabase::new().await, crate::harness::temp_folder());
    let address = address_of(&database.url);
    let socket = folder.path().join(format!(".s.PGSQL.{}", address.port()));
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::TcpStream::connect(address).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let place = folder.path().to_str().unwrap().replace('/', "%2F");
    let url = database.url.expose().replace("127.0.0.1", &place);
    let connector = Connector::new(&keystone_edge::config::Secret::new(url), &Config::defaults().database).unwrap();
    let pool = connector.pool().unwrap();
    get(&pool).await.unwrap().query_one("select 1", &[]).await.unwrap();
    serving.abort();
    std::fs::remove_file(&socket).unwrap();
    let error = connector.connect().await.err().expect("no connection");
    assert_eq!(error.fault(), Fault::Unavailable, "{error:?}");
}
