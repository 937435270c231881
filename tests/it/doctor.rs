//! `keystone doctor`, the real program, beside servers, databases and stores that are well and that are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use keystone_edge::config::Secret;
use keystone_edge::pg::get;
use serde_json::{Value, json};

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, free_ports, temp_folder};
use crate::sources::{code_of, module_of, read, root, source_files};

/// Also on a busy machine: every look has a limit of a few seconds, and most are made at the same time.
const PATIENCE: Duration = Duration::from_secs(60);

type Settings = Vec<(&'static str, String)>;

/// One run of the program.
struct Ran {
    code: i32,
    text: String,
    findings: BTreeMap<String, (String, String)>,
}

impl Ran {
    fn level(&self, id: &str) -> &str {
        &self.finding(id).0
    }

    fn seen(&self, id: &str) -> &str {
        &self.finding(id).1
    }

    fn finding(&self, id: &str) -> &(String, String) {
        self.findings.get(id).unwrap_or_else(|| panic!("no finding `{id}` in:\n{}", self.text))
    }

    /// Findings that are neither ok nor expected, nor about the machine that runs the tests.
    fn beside(&self, expected: &[&str]) -> Vec<(&String, &(String, String))> {
        let ours = |id: &str| !expected.contains(&id) && !["host.disk", "host.open_files"].contains(&id);
        self.findings.iter().filter(|(id, (level, _))| level != "ok" && ours(id)).collect()
    }
}

fn program(folder: &Path, settings: &Settings, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystone"));
    command.arg("doctor").args(arguments).current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(settings.iter().map(|(name, value)| (*name, value))).output().expect("the program runs")
}

async fn doctor(folder: &Path, settings: &Settings) -> Ran {
    let (folder, settings) = (folder.to_owned(), settings.clone());
    tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let ran = program(&folder, &settings, &["--json"]);
        assert!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
        let text = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        let report: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
        let field = |finding: &Value, name: &str| finding[name].as_str().expect("a text").to_owned();
        let findings = report["findings"].as_array().expect("findings");
        for finding in findings {
            assert_eq!(finding["level"] == "ok", finding["todo"].is_null(), "what is not ok says what to do: {finding}");
        }
        let by_id = findings.iter().map(|finding| (field(finding, "id"), (field(finding, "level"), field(finding, "seen"))));
        let code = ran.status.code().expect("an exit code");
        assert_eq!(code == 1, report["level"] == "problem", "{text}");
        Ran { code, findings: by_id.collect(), text }
    })
    .await
    .expect("the program ends")
}

fn free_port() -> u16 {
    free_ports::<1>()[0]
}

/// Ports on which nothing listens, so that servers of other tests are not met.
fn quiet_ports() -> Settings {
    let names = ["KEYSTONE_BIND_ADDR", "KEYSTONE_RECORDER_BIND", "KEYSTONE_TRANSFER_BIND", "KEYSTONE_EMBEDDED_S3_BIND"];
    names.into_iter().zip(free_ports::<4>()).map(|(name, port)| (name, format!("127.0.0.1:{port}"))).collect()
}

/// A database and a store that are not ours, as the settings of one process name them.
struct Site {
    database: TestDatabase,
    objects: TestObjects,
    folder: tempfile::TempDir,
}

/// The cluster of the tests syncs nothing, which is found every time. The store of the tests protects nothing.
const OF_TESTS: &[&str] = &["database.durable", "store.versioning", "store.lock", "store.policy", "store.public", "store.lifecycle"];

impl Site {
    async fn new() -> Self {
        Self { database: TestDatabase::new().await, objects: TestObjects::new().await, folder: temp_folder() }
    }

    fn settings(&self) -> Settings {
        let more = [
            ("KEYSTONE_DATABASE_URL", self.database.url.expose().to_owned()),
            ("KEYSTONE_S3_ENDPOINT", self.objects.s3.endpoint()),
            ("KEYSTONE_S3_ACCESS_KEY", "test".to_owned()),
            ("KEYSTONE_S3_SECRET_KEY", "test-secret".to_owned()),
            ("KEYSTONE_JWT_SECRET", "one secret for all processes of this test".to_owned()),
            ("KEYSTONE_ADMIN_PASSWORD", PASSWORD.to_owned()),
        ];
        [quiet_ports(), more.to_vec()].concat()
    }

    async fn doctor(&self, changed: &[(&'static str, &str)]) -> Ran {
        let mut settings = self.settings();
        settings.extend(changed.iter().map(|(name, value)| (*name, (*value).to_owned())));
        doctor(self.folder.path(), &settings).await
    }

    async fn as_owner(&self, sql: &str) {
        get(&self.database.pool).await.expect("a connection").batch_execute(sql).await.expect("a statement");
    }
}

/// Takes connections and never says a word.
fn swallower() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    (listener, address)
}

fn with_address(url: &Secret, address: &str) -> String {
    let (login, rest) = url.expose().rsplit_once('@').expect("a login");
    let (_, database) = rest.split_once('/').expect("a database");
    format!("{login}@{address}/{database}")
}

fn secrets_in(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_to_string(file.path()).ok()).map(|text| text.trim().to_owned()).collect()
}

#[tokio::test]
async fn beside_an_embedded_server_and_after_it() {
    let folder = temp_folder();
    let data = folder.path().join("data");
    let mut server = Server::new(folder.path());
    let settings = |server: &Server| -> Settings {
        vec![
            ("KEYSTONE_CONFIG", "keystone.toml".to_owned()),
            ("KEYSTONE_BIND_ADDR", server.address(0)),
            ("KEYSTONE_RECORDER_BIND", server.address(1)),
            ("KEYSTONE_TRANSFER_BIND", server.address(2)),
            ("KEYSTONE_EMBEDDED_S3_BIND", server.address(3)),
            ("KEYSTONE_DATA_DIR", server.folder.join("data").display().to_string()),
            ("KEYSTONE_S3_ACCESS_KEY", "test".to_owned()),
            ("KEYSTONE_S3_SECRET_KEY", "test-secret".to_owned()),
            ("KEYSTONE_ADMIN_PASSWORD", PASSWORD.to_owned()),
        ]
    };

    // Before the first start nothing is there, and nothing is made.
    let before = doctor(folder.path(), &settings(&server)).await;
    assert_eq!(before.code, 0, "{}", before.text);
    assert!(before.seen("database.reach").contains("would be started with Postgres"), "{}", before.text);
    assert!(!data.exists(), "it makes nothing");

    server.start();
    server.ready().await;
    let beside = doctor(folder.path(), &settings(&server)).await;
    assert_eq!(beside.code, 0, "{}", beside.text);
    // The settings of the test give a key that robots share.
    assert_eq!(beside.beside(&["robots.store_keys"]), [], "{}", beside.text);
    assert!(beside.seen("robots.store_keys").contains("still opens the store"), "{}", beside.text);
    assert!(beside.seen("host.data_folder").contains(&format!("in use by process {}", server.pid())), "{}", beside.text);
    assert!(beside.seen("address.http").contains("is ready"), "{}", beside.text);
    assert!(beside.seen("store.reach").contains("answers"), "{}", beside.text);
    assert!(beside.seen("work.processes").starts_with("1 process"), "{}", beside.text);
    assert!(beside.seen("work.log").contains("leads the log"), "{}", beside.text);

    // No secret is shown, to people or to machines.
    let for_people = program(folder.path(), &settings(&server), &[]);
    let shown = format!("{}{}", String::from_utf8_lossy(&for_people.stdout), beside.text);
    assert!(shown.contains("database.version"), "{shown}");
    let mut secrets = [secrets_in(&data.join("secrets")), secrets_in(&data.join("postgres/passwords"))].concat();
    assert!(secrets.len() >= 4, "{secrets:?}");
    secrets.extend([PASSWORD.to_owned(), "test-secret".to_owned()]);
    assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");

    // A secret that others may read.
    let jwt = data.join("secrets/jwt");
    fs::set_permissions(&jwt, fs::Permissions::from_mode(0o644)).expect("a mode");
    let open = doctor(folder.path(), &settings(&server)).await;
    assert_eq!((open.code, open.level("host.secrets")), (1, "problem"), "{}", open.text);
    assert!(open.seen("host.secrets").contains("secrets/jwt (644)"), "{}", open.text);
    fs::set_permissions(&jwt, fs::Permissions::from_mode(0o600)).expect("a mode");

    server.stop().await;
    let after = doctor(folder.path(), &settings(&server)).await;
    assert_eq!(after.code, 0, "{}", after.text);
    assert!(after.seen("address.http").contains("no server runs here"), "{}", after.text);
    assert!(after.seen("host.data_folder").contains("in use by no process"), "{}", after.text);

    // Something else took the port of the recorders meanwhile.
    let _other = TcpListener::bind(server.address(1)).expect("the port is free");
    let taken = doctor(folder.path(), &settings(&server)).await;
    assert_eq!((taken.code, taken.level("address.recorder")), (1, "problem"), "{}", taken.text);
}

#[tokio::test]
async fn a_site_with_its_own_database_and_store() {
    let site = Site::new().await;
    let ran = site.doctor(&[]).await;
    assert_eq!(ran.beside(OF_TESTS), [], "{}", ran.text);
    assert_eq!(ran.level("database.durable"), "problem");
    assert_eq!((ran.level("store.reach"), ran.level("store.clock")), ("ok", "ok"));
    let protection = OF_TESTS.iter().filter(|id| id.starts_with("store.")).map(|id| ran.level(id));
    assert!(protection.into_iter().all(|level| level != "problem"), "{}", ran.text);

    // Robots from other machines, and everything else known as loopback.
    let everywhere = format!("0.0.0.0:{}", free_port());
    let robots = site.doctor(&[("KEYSTONE_RECORDER_BIND", &everywhere)]).await;
    assert_eq!((robots.level("address.callback"), robots.level("address.store")), ("problem", "problem"), "{}", robots.text);
    assert!(robots.seen("address.callback").contains("REST listens on 127.0.0.1"), "{}", robots.text);
    let robots = site.doctor(&[("KEYSTONE_RECORDER_BIND", &everywhere), ("KEYSTONE_BIND_ADDR", &format!(":{}", free_port()))]).await;
    assert!(robots.seen("address.callback").contains("call back at 127.0.0.1"), "{}", robots.text);
}

#[tokio::test]
async fn a_database_that_does_not_let_us_in_or_does_not_answer() {
    let site = Site::new().await;
    let reach = async |url: &str| {
        let ran = site.doctor(&[("KEYSTONE_DATABASE_URL", url)]).await;
        assert_eq!((ran.code, ran.level("database.reach")), (1, "problem"), "{}", ran.text);
        // What does not hang on the database is looked at all the same.
        assert_eq!(ran.level("store.reach"), "ok", "{}", ran.text);
        ran.seen("database.reach").to_owned()
    };
    let url = site.database.url.expose();
    let at = url.find('@').expect("a login");
    let wrong = format!("{}00000000{}", &url[..at - 8], &url[at..]);
    let seen = reach(&wrong).await;
    assert!(seen.contains("password authentication failed"), "{seen}");
    let seen = reach(&format!("{url}_of_nobody")).await;
    assert!(seen.contains("does not exist"), "{seen}");
    let seen = reach(&with_address(&site.database.url, &format!("127.0.0.1:{}", free_port()))).await;
    assert!(seen.contains("refused"), "{seen}");
    let (_listener, silent) = swallower();
    let seen = reach(&with_address(&site.database.url, &silent)).await;
    assert!(seen.contains("no answer") || seen.contains("did not answer"), "{seen}");
}

#[tokio::test]
async fn a_database_that_takes_no_writes() {
    let site = Site::new().await;
    let name = site.database.url.expose().rsplit_once('/').expect("a database").1.to_owned();
    site.as_owner(&format!("alter database {name} set default_transaction_read_only = on")).await;
    let ran = site.doctor(&[]).await;
    assert_eq!((ran.code, ran.level("database.writable")), (1, "problem"), "{}", ran.text);
    assert_eq!(ran.beside(&[OF_TESTS, &["database.writable"]].concat()), [], "{}", ran.text);
}

#[tokio::test]
async fn sessions_and_settings_that_differ_from_what_we_ask_for() {
    let site = Site::new().await;
    let url = format!("{}?options=-c%20statement_timeout%3D0%20-c%20synchronous_commit%3Doff", site.database.url.expose());
    let ran = site.doctor(&[("KEYSTONE_DATABASE_URL", &url), ("KEYSTONE_DB_MAX_OPEN_CONNS", "500")]).await;
    assert!(ran.seen("database.timeouts").contains("statement_timeout is without an end"), "{}", ran.text);
    assert!(ran.seen("database.durable").contains("synchronous_commit"), "{}", ran.text);
    assert_eq!(ran.level("database.connections"), "problem", "{}", ran.text);
    let superuser = site.doctor(&[("KEYSTONE_DATABASE_URL", site.database.superuser_url.expose())]).await;
    assert_eq!(superuser.level("database.role"), "warning", "{}", superuser.text);
}

#[tokio::test]
async fn a_schema_of_another_version() {
    let site = Site::new().await;
    let history = "refinery_schema_history";
    let newest = format!("(select max(version) from {history})");
    site.as_owner(&format!("insert into {history} values (999999, 'from_the_future', '2031-01-01T00:00:00Z', '1')")).await;
    let newer = site.doctor(&[]).await;
    assert_eq!(newer.level("database.schema"), "warning");
    assert!(newer.seen("database.schema").contains("newer than this program"), "{}", newer.text);
    site.as_owner(&format!("delete from {history} where version = {newest}; delete from {history} where version = {newest}")).await;
    let older = site.doctor(&[]).await;
    assert_eq!(older.level("database.schema"), "warning");
    assert!(older.seen("database.schema").contains("missing migrations: 1"), "{}", older.text);
    site.as_owner(&format!("update {history} set checksum = '7' where version = 1")).await;
    let changed = site.doctor(&[]).await;
    assert_eq!(changed.level("database.schema"), "problem", "{}", changed.text);
    site.as_owner(&format!("drop table {history}")).await;
    assert!(site.doctor(&[]).await.seen("database.schema").contains("no schema yet"));
}

#[tokio::test]
async fn work_that_waits_and_tables_that_are_locked() {
    let site = Site::new().await;
    site.as_owner(
        "insert into dead_letters (subscriber, event_seq, stream_key, causation_depth, reason, attempts, failures, queued_at, blocks_stream)
         values ('upload_verification', 1, 'task/1', 1, 'expired', 9, '[]', clock_timestamp(), false);
         insert into outbox (subscriber, event_seq, stream_key, causation_depth, due_at)
         values ('upload_verification', 2, 'task/2', 1, clock_timestamp() - interval '1 hour');
         insert into processes (id, name, lease_until) values (gen_random_uuid(), 'one of the tests', clock_timestamp() + interval '1 hour')",
    )
    .await;
    let ran = site.doctor(&[]).await;
    assert!(ran.seen("work.dead_letters").contains("1 to upload_verification"), "{}", ran.text);
    assert_eq!(ran.level("work.outbox"), "problem", "{}", ran.text);
    // It only looked.
    let rows = get(&site.database.pool).await.unwrap().query_one("select count(*), min(attempt) from outbox", &[]).await.unwrap();
    assert_eq!((rows.get::<_, i64>(0), rows.get::<_, i32>(1)), (1, 0));

    let mut client = get(&site.database.pool).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("lock table outbox in access exclusive mode").await.unwrap();
    let locked = site.doctor(&[]).await;
    assert_eq!(locked.level("work.asked"), "problem", "{}", locked.text);
    assert_eq!(locked.level("database.schema"), "ok", "{}", locked.text);
}

#[tokio::test]
async fn a_store_that_is_away_strange_or_does_not_let_us_in() {
    let site = Site::new().await;
    let reach = async |changed: &[(&'static str, &str)]| {
        let ran = site.doctor(changed).await;
        assert_eq!(ran.level("database.version"), "ok", "{}", ran.text);
        assert!(!ran.findings.contains_key("store.versioning"), "{}", ran.text);
        (ran.level("store.reach").to_owned(), ran.seen("store.reach").to_owned())
    };
    let (level, seen) = reach(&[("KEYSTONE_S3_ENDPOINT", &format!("http://127.0.0.1:{}", free_port()))]).await;
    assert!(level == "problem" && seen.contains("refused"), "{seen}");
    let (_listener, silent) = swallower();
    let (level, seen) = reach(&[("KEYSTONE_S3_ENDPOINT", &format!("http://{silent}"))]).await;
    assert!(level == "problem" && seen.contains("does not answer"), "{seen}");
    let (level, seen) = reach(&[("KEYSTONE_S3_SECRET_KEY", "another-secret")]).await;
    assert!(level == "problem" && seen.contains("SignatureDoesNotMatch"), "{seen}");
    let (level, seen) = reach(&[("KEYSTONE_S3_BUCKET", "of-nobody")]).await;
    assert!(level == "warning" && seen.contains("no bucket `of-nobody`"), "{seen}");
}

#[test]
fn settings_that_cannot_be_used_end_with_2() {
    let folder = temp_folder();
    let ran = program(folder.path(), &vec![("KEYSTONE_DATABSE_URL", "x".to_owned())], &[]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("did you mean `KEYSTONE_DATABASE_URL`?"));
}

#[test]
fn every_check_is_explained() {
    let areas = ["database", "work", "robots", "store", "host", "address", "settings"];
    let is_id = |word: &str| {
        let parts: Vec<&str> = word.split('.').collect();
        matches!(parts.as_slice(), [area, check] if areas.contains(area) && check.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let mut checks = BTreeSet::new();
    for file in source_files().into_iter().filter(|file| module_of(file) == "doctor") {
        checks.extend(code_of(&read(&file)).split('"').filter(|word| is_id(word)).map(str::to_owned));
    }
    assert!(checks.len() > 30, "{checks:?}");
    let document = fs::read_to_string(root().join("docs/operations.md")).expect("the document");
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let explained: BTreeSet<String> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').filter(|word| is_id(word))).map(str::to_owned).collect();
    assert_eq!(checks, explained, "what the code checks, and what docs/operations.md explains");
}

#[test]
fn the_policies_for_stores_are_json_that_lets_robots_only_add() {
    let policy = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(root().join("docs/s3").join(name)).expect("a file"))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    for name in ["lifecycle.json", "object-lock.json"] {
        assert!(policy(name).is_object());
    }
    let actions = |policy: &Value, effect: &str| -> BTreeSet<String> {
        let statements = policy["Statement"].as_array().expect("statements");
        let of_effect = statements.iter().filter(|statement| statement["Effect"] == effect);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        of_effect.flat_map(|statement| list(&statement["Action"])).map(|action| action.as_str().expect("a name").to_owned()).collect()
    };
    let robots = actions(&policy("robots-policy.json"), "Allow");
    let adding = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListBucket", "s3:ListMultipartUploadParts", "s3:PutObject"];
    assert_eq!(robots.iter().map(String::as_str).collect::<Vec<_>>(), adding);
    let server = policy("server-policy.json");
    for statement in server["Statement"].as_array().expect("statements") {
        let of_log = statement["Resource"] == "arn:aws:s3:::BUCKET/_log/*";
        let mut allowed = actions(&json!({ "Statement": [statement] }), "Allow").into_iter();
        assert!(
            allowed.all(|action| action.starts_with("s3:Get") || action == "s3:ListBucket" || (of_log && action == "s3:PutObject")),
            "{statement}"
        );
    }
    let nobody = policy("bucket-policy.json");
    assert!(actions(&nobody, "Allow").is_empty());
    assert!(actions(&nobody, "Deny").is_superset(&["s3:DeleteObject".to_owned(), "s3:DeleteObjectVersion".to_owned()].into()));
}
