//! Connections, errors and migrations on a real Postgres.

use keystone_edge::pg::{Fault, PgError, fault, get};

use crate::harness::{PrivatePostgres, TestDatabase, until};

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
        ("set statement_timeout = 1; select pg_sleep(1)", Fault::Cancelled),
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
    let error = client.batch_execute("select 1").await.unwrap_err();
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
    assert_eq!(values, ["30s", "30s", "keystone-edge"]);
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
    assert!(start.elapsed() < settings.start_timeout());
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
