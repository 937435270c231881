//! The tree over the log: grown behind it, signed, shown by routes, in the object store, and verified, with a database and without; every damage to
//! a row is found and named.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystone_edge::app::log_publishing::{PublishError, Publishing};
use keystone_edge::blobs::{Blobs, ObjectKey};
use keystone_edge::certificates::{NoteKey, SigningKey, opened, signed};
use keystone_edge::domain::OrderId;
use keystone_edge::domain::log_tree::proof::{is_consistent, is_included};
use keystone_edge::domain::log_tree::{Checkpoint, Growth, Hash, Kept, TileId, Tiles as _};
use keystone_edge::eventstore::log::verify;
use keystone_edge::eventstore::tree::heads::Head;
use keystone_edge::eventstore::tree::{self, committed, heads, published, tiles};
use serde_json::Value;

use crate::event_log::note_all;
use crate::factory::{Factory, place_all};
use crate::harness::edge::TestEdge;
use crate::harness::server::Server;
use crate::harness::{TestDatabase, access, temp_folder};

const SOUND: i32 = 0;
const BROKEN: i32 = 1;
const NOT_LOOKED: i32 = 2;

async fn grow(database: &TestDatabase) -> u64 {
    loop {
        let grown = tree::grow(&database.pool).await.expect("a step").expect("nobody else does it");
        if !grown.more {
            return grown.size;
        }
    }
}

/// All that happened, in the tree and signed.
async fn sign(edge: &TestEdge) -> Head {
    place_all(&edge.database.connector).await;
    grow(&edge.database).await;
    let by = |head: &Checkpoint| edge.log.sign(head).expect("a key");
    heads::sign(&edge.database.pool, edge.log.origin(), Duration::ZERO, by).await.expect("a head").expect("a new one")
}

/// What makes events.
struct Work {
    factory: Factory,
    order: OrderId,
}

impl Work {
    async fn begin(edge: &TestEdge) -> Self {
        let factory = Factory::new(&edge.database.pool, 2).await;
        let order = factory.order("Cups", 5_000).await;
        Self { factory, order }
    }

    /// So many tasks, which are as many events, and some more.
    async fn tasks(&self, station: usize, tasks: i64) {
        self.factory.batch(self.order, station, tasks).await;
    }

    async fn orders(&self, orders: usize) {
        for _ in 0..orders {
            self.factory.order(&format!("Plates {}", rand::random::<u64>()), 1).await;
        }
    }
}

/// The tree of the events that are there, made in one go.
async fn expected(database: &TestDatabase) -> (Kept, Growth) {
    let client = database.pool.get().await.unwrap();
    let (mut growth, mut all) = (Growth::default(), Kept::new());
    for event in committed::read_in(&client, 0, i64::MAX, i64::MAX).await.unwrap() {
        growth.append(event.told().unwrap().leaf_hash());
        all.extend(growth.take_tiles());
    }
    (all, growth)
}

async fn kept(database: &TestDatabase, size: u64) -> Kept {
    let ids: Vec<TileId> = TileId::all_in(size).collect();
    tiles::read_in(&database.pool.get().await.unwrap(), &ids).await.unwrap()
}

fn hash(text: &Value) -> Hash {
    Hash(STANDARD.decode(text.as_str().expect("a text")).expect("base64").try_into().expect("a hash"))
}

fn hashes(list: &Value) -> Vec<Hash> {
    list.as_array().expect("a list").iter().map(hash).collect()
}

#[tokio::test]
async fn the_tree_of_a_log_that_is_older_is_caught_up_and_grows_on_from_where_it_is() {
    let edge = TestEdge::start().await;
    assert_eq!(grow(&edge.database).await, 0);
    let work = Work::begin(&edge).await;
    work.tasks(0, 700).await;
    assert_eq!(grow(&edge.database).await, 0, "what has no position is in no tree");
    for _ in 0..2 {
        let head = sign(&edge).await;
        let (tree, growth) = expected(&edge.database).await;
        assert!(head.size > 700);
        assert_eq!((head.size, head.root), (growth.size(), growth.root()));
        assert_eq!(kept(&edge.database, head.size).await, tree);
        assert_eq!(grow(&edge.database).await, head.size, "nothing new");
        let by = |head: &Checkpoint| edge.log.sign(head).expect("a key");
        let again = heads::sign(&edge.database.pool, edge.log.origin(), Duration::ZERO, by).await.unwrap();
        assert_eq!(again, None, "it did not grow");
        work.orders(10).await;
    }
    place_all(&edge.database.connector).await;
    grow(&edge.database).await;
    let by = |_: &Checkpoint| panic!("it is not time");
    assert_eq!(heads::sign(&edge.database.pool, edge.log.origin(), Duration::from_secs(3600), by).await.unwrap(), None);
}

#[tokio::test]
async fn one_process_grows_the_tree_and_what_it_has_is_never_another() {
    let edge = TestEdge::start().await;
    let work = Work::begin(&edge).await;
    work.orders(10).await;
    let head = sign(&edge).await;
    let mut other = edge.database.pool.get().await.unwrap();
    let held = other.transaction().await.unwrap();
    held.query("select pg_try_advisory_xact_lock(x'6b65797374726565'::bigint)", &[]).await.unwrap();
    assert_eq!(tree::grow(&edge.database.pool).await.unwrap(), None);
    drop(held);
    let client = edge.database.pool.get().await.unwrap();
    for change in [
        "update log_tiles set hashes = overlay(hashes placing '\\x00' from 1)",
        "update log_tiles set hashes = substring(hashes from 1 for 32)",
        "update log_tiles set number = 7",
        "delete from log_tiles",
        "truncate log_tiles",
        "update log_heads set note = ''",
        "delete from log_heads",
        "truncate log_heads",
        "delete from log_name",
    ] {
        assert!(client.batch_execute(change).await.is_err(), "{change}");
    }
    // Where the log lost an event, the tree does not go on as if there had been none; and a tree that is not what was signed is signed no more.
    work.orders(2).await;
    place_all(&edge.database.connector).await;
    let first = head.size + 1;
    edge.database.as_superuser(&format!("set session_replication_role = replica; delete from log where position = {first}")).await;
    let error = tree::grow(&edge.database.pool).await.expect_err("a gap").to_string();
    assert!(error.contains(&format!("no event at position {first}")), "{error}");
    let torn = "set session_replication_role = replica; update log_tiles set hashes = overlay(hashes placing '\\x0000' from 3) || hashes";
    edge.database.as_superuser(torn).await;
    let by = |_: &Checkpoint| panic!("it is another tree");
    let error = heads::sign(&edge.database.pool, edge.log.origin(), Duration::ZERO, by).await.expect_err("another tree").to_string();
    assert!(error.contains("is not the one that was signed"), "{error}");
}

#[tokio::test]
async fn routes_give_checkpoints_tiles_and_proofs_that_verify_with_nothing_else() {
    let edge = TestEdge::start().await;
    let (status, problem) = edge.get("/api/v1/log/checkpoint").await;
    assert_eq!((status, &problem["code"]), (503, &"log_behind".into()));
    let work = Work::begin(&edge).await;
    work.tasks(0, 300).await;
    let first = sign(&edge).await;
    work.tasks(1, 300).await;
    let second = sign(&edge).await;

    let (_, keys) = edge.get("/api/v1/log/keys").await;
    let key = NoteKey::parse(keys.as_str().expect("a text").trim_end()).expect("a key");
    let (status, note) = edge.get("/api/v1/log/checkpoint").await;
    let head =
        Checkpoint::parse(opened(note.as_str().expect("a text"), std::slice::from_ref(&key)).expect("a note")).expect("a checkpoint");
    assert_eq!((status, head.size, head.root, head.origin.as_str()), (200, second.size, second.root, "keystone-edge/test"));

    let (_, page) = edge.get("/api/v1/log/checkpoints?limit=1").await;
    assert_eq!((&page["items"][0]["size"], &page["next_before"]), (&second.size.into(), &second.size.into()));
    let (_, page) = edge.get(&format!("/api/v1/log/checkpoints?limit=1&before={}", second.size)).await;
    assert_eq!((page["items"][0]["note"].as_str(), page.get("next_before")), (Some(first.note.as_str()), None));

    for (position, size) in
        [(1, first.size), (first.size, first.size), (1, second.size), (257, second.size), (second.size, second.size), (3, 5)]
    {
        let (status, proof) = edge.get(&format!("/api/v1/log/proofs/inclusion?position={position}&size={size}")).await;
        assert_eq!(status, 200, "{proof}");
        assert!(proof.to_string().len() < 2000, "{proof}");
        let leaf = STANDARD.decode(proof["leaf"].as_str().expect("a leaf")).expect("base64");
        assert_eq!(leaf[..8], position.to_be_bytes());
        assert!(is_included(Hash::of_leaf(&leaf), position - 1, size, &hash(&proof["root"]), &hashes(&proof["proof"])), "{proof}");
        assert_eq!(proof.get("checkpoint").is_some(), [first.size, second.size].contains(&size));
    }
    for (from, to) in [(first.size, second.size), (1, second.size), (second.size, second.size), (256, 257)] {
        let (status, proof) = edge.get(&format!("/api/v1/log/proofs/consistency?from={from}&to={to}")).await;
        assert_eq!(status, 200, "{proof}");
        let roots = (hash(&proof["from_root"]), hash(&proof["to_root"]));
        assert!(is_consistent(from, to, &roots.0, &roots.1, &hashes(&proof["proof"])), "{proof}");
    }
    let beyond = second.size + 1;
    for (path, field) in [
        ("inclusion".to_owned(), "position"),
        ("inclusion?position=0".to_owned(), "position"),
        ("inclusion?position=-1".to_owned(), "position"),
        ("inclusion?position=one".to_owned(), "position"),
        (format!("inclusion?position={beyond}"), "position"),
        ("inclusion?position=6&size=5".to_owned(), "position"),
        ("inclusion?position=1&size=0".to_owned(), "size"),
        (format!("inclusion?position=1&size={beyond}"), "size"),
        ("consistency".to_owned(), "from"),
        ("consistency?from=0".to_owned(), "from"),
        (format!("consistency?from={beyond}"), "from"),
        (format!("consistency?from=1&to={beyond}"), "to"),
        ("consistency?from=3&to=2".to_owned(), "from"),
    ] {
        let (status, problem) = edge.get(&format!("/api/v1/log/proofs/{path}")).await;
        assert_eq!((status, problem["field"].as_str()), (400, Some(field)), "{path}: {problem}");
    }

    let (tree, _) = expected(&edge.database).await;
    let bytes = async |path: &str| {
        let answer = edge.request(&edge.admin, "GET", &format!("/api/v1/log/tile/{path}")).send().await.expect("an answer");
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        (answer.status().as_u16(), kind, answer.bytes().await.expect("bytes"))
    };
    let full = tree.tile(TileId { level: 0, number: 0 }).unwrap();
    assert_eq!(bytes("0/000").await, (200, Some("application/octet-stream".to_owned()), Hash::bytes_of(full).into()));
    assert_eq!(bytes("0/000.p/3").await.2, Hash::bytes_of(&full[..3]));
    assert_eq!(bytes("1/000.p/2").await.2, Hash::bytes_of(tree.tile(TileId { level: 1, number: 0 }).unwrap()));
    let (_, _, entries) = bytes("entries/001.p/2").await;
    assert_eq!((entries.len(), &entries[..2], &entries[2..10]), (84, &[0, 40][..], &257_u64.to_be_bytes()[..]));
    assert_eq!(Hash::of_leaf(&entries[44..]), tree.tile(TileId { level: 0, number: 1 }).unwrap()[1]);
    for none in ["0/009", "0/002.p/255", "1/000", "8/000", "63/000.p/1", "0/0", "x", "entries/009", "0/000.p/256", "0/001/"] {
        assert_eq!(bytes(none).await.0, 404, "{none}");
    }
}

/// A server's tool on the database of an edge, which knows the key of its log.
struct Tools {
    server: Server,
    folder: PathBuf,
    _temp: tempfile::TempDir,
}

impl Tools {
    fn of(edge: &TestEdge) -> Self {
        let temp = temp_folder();
        let folder = temp.path().to_owned();
        let mut server = Server::sharing(&folder, &edge.database.url, "http://127.0.0.1:9");
        std::fs::write(folder.join("key.pem"), &edge.log_key).unwrap();
        let keys: String = edge.log.keys().iter().map(|key| key.line() + "\n").collect();
        std::fs::write(folder.join("keys"), keys).unwrap();
        server.settings.push(("KEYSTONE_CERTIFICATE_KEY_FILE", folder.join("key.pem").display().to_string()));
        Self { server, folder, _temp: temp }
    }

    fn keep(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let file = self.folder.join(name);
        std::fs::write(&file, content).unwrap();
        file.display().to_string()
    }

    async fn verify(&self, options: &[&str]) -> (i32, String) {
        self.server.tool(&[&["verify"], options].concat()).await
    }
}

/// What a superuser does to one event or its place, and as what it is found: with `{seq}` of the event at position 100.
const DAMAGES: [(&str, &str, &str); 7] = [
    ("flip", "update events set payload = payload || '{\"more\": 1}' where seq = {seq}", "position 100: changed: task/"),
    ("rename", "update events set event_type = 'task_deleted' where seq = {seq}", "(task_deleted)"),
    ("delete", "delete from events where seq = {seq}; delete from log where position = 100", "position 100: removed"),
    (
        "delete, and move all others up",
        "delete from events where seq = {seq}; delete from log where position = 100; update log set position = position + 1000000 where position > 100;
         update log set position = position - 1000001 where position > 1000000",
        "position 100: removed",
    ),
    (
        "insert",
        "update log set position = position + 1000000 where position >= 100; update log set position = position - 999999 where position > 1000000;
         insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('task', '999999', 1, 'task_created', '1.0', '{\"task_created\": {}}', '{}');
         insert into log select 100, max(seq), '' from events",
        "position 100: inserted: task/999999/1 (task_created)",
    ),
    (
        "swap",
        "update log set seq = -seq where position in (100, 103);
         update log l set seq = -o.seq from log o where l.position in (100, 103) and o.position in (100, 103) and o.position <> l.position",
        "position 100: reordered: task/",
    ),
    ("back-date", "update events set recorded_at = recorded_at - interval '1 day' where seq = {seq}", "position 100: back-dated: task/"),
];

#[tokio::test]
async fn what_a_superuser_does_to_a_row_is_found_and_named() {
    let edge = TestEdge::start().await;
    Work::begin(&edge).await.tasks(0, 300).await;
    sign(&edge).await;
    let tools = Tools::of(&edge);
    let (code, said) = tools.verify(&[]).await;
    assert_eq!(code, SOUND, "{said}");
    assert!(said.contains("1 signed heads") && said.contains("0 not in it yet"), "{said}");
    let replica = "set session_replication_role = replica; ";
    edge.database.as_superuser("create table kept_events as select * from events; create table kept_log as select * from log").await;
    let client = edge.database.pool.get().await.unwrap();
    let seq: i64 = client.query_one("select seq from log where position = 100", &[]).await.unwrap().get(0);
    for (name, damage, named) in DAMAGES {
        edge.database.as_superuser(&format!("{replica}{}", damage.replace("{seq}", &seq.to_string()))).await;
        let (code, said) = tools.verify(&[]).await;
        let of_tree: Vec<&str> = said.lines().filter(|line| line.starts_with("BROKEN: position")).collect();
        assert_eq!((code, said.contains(named)), (BROKEN, true), "{name}: {said}");
        // Of what was only moved nothing is said, but where two changed places.
        let faults = of_tree.iter().filter(|line| line.contains("changed: ") || line.contains("removed") || line.contains("inserted"));
        assert!(faults.count() <= 2, "{name}: {said}");
        if !name.contains("others") && name != "insert" {
            let (code, said) = tools.verify(&["--from", "90", "--to", "110"]).await;
            assert_eq!((code, said.contains(named)), (BROKEN, true), "{name}, in a range: {said}");
            let (code, said) = tools.verify(&["--from", "150", "--to", "310"]).await;
            assert_eq!(code, SOUND, "{name}, elsewhere: {said}");
        }
        let back =
            "delete from events; delete from log; insert into events select * from kept_events; insert into log select * from kept_log";
        edge.database.as_superuser(&format!("{replica}{back}")).await;
    }
    let (code, said) = tools.verify(&[]).await;
    assert_eq!(code, SOUND, "{said}");
    let (code, said) = tools.verify(&["--from", "5", "--to", "4"]).await;
    assert_eq!(code, NOT_LOOKED, "{said}");
    let (code, said) = tools.verify(&["--from", "100000"]).await;
    assert_eq!(code, NOT_LOOKED, "{said}");
}

/// The chain, the ticks and the tree, as if the events had always been what they are now.
async fn made_anew(database: &TestDatabase) {
    database
        .as_superuser(
            "set session_replication_role = replica;
             update log l set hash = c.hash from (
                 select l.position, chain_over(sha256('keystone edge'), event_digest(e)) over (order by l.position) as hash
                 from log l join events e on e.seq = l.seq) c where c.position = l.position;
             update ticks t set hash = l.hash from log l where l.position = t.position;
             delete from log_tiles",
        )
        .await;
    grow(database).await;
    assert_eq!(verify(&database.pool).await.unwrap(), [], "the chain alone says nothing");
}

#[tokio::test]
async fn a_log_that_was_made_anew_is_not_the_one_whose_head_was_kept() {
    let edge = TestEdge::start().await;
    let work = Work::begin(&edge).await;
    work.tasks(0, 300).await;
    let first = sign(&edge).await;
    work.orders(20).await;
    let second = sign(&edge).await;
    let tools = Tools::of(&edge);
    let (kept_first, kept_second) = (tools.keep("first", &first.note), tools.keep("second", &second.note));
    let keys = tools.folder.join("keys").display().to_string();
    for options in [
        vec!["--checkpoint", &kept_first, "--key", &keys],
        vec!["--checkpoint", &kept_second, "--key", &keys],
        vec!["--from", "7", "--to", "9"],
    ] {
        let (code, said) = tools.verify(&options).await;
        assert_eq!(code, SOUND, "{options:?}: {said}");
    }
    let position = first.size + 5;
    edge.database
        .as_superuser(&format!(
            "set session_replication_role = replica;
             update events set metadata = metadata || '{{\"actor\": \"user:nobody\"}}' where seq = (select seq from log where position = {position})"
        ))
        .await;
    made_anew(&edge.database).await;
    let (code, said) = tools.verify(&[]).await;
    let between = format!(
        "the head of {} events that was signed is not that of the events here: something between the positions {} and",
        second.size,
        first.size + 1
    );
    assert_eq!((code, said.contains(&between)), (BROKEN, true), "{said}");
    let (code, said) = tools.verify(&["--from", "1", "--to", "10"]).await;
    assert_eq!((code, said.contains("is not that of the tree")), (BROKEN, true), "{said}");

    // And the heads that were kept here are signed anew, by who has no key of the site.
    let other = SigningKey::of_pem(&SigningKey::new_pem().unwrap()).unwrap();
    let (_, growth) = expected(&edge.database).await;
    let forged = Checkpoint { origin: edge.log.origin().to_owned(), size: growth.size(), root: growth.root() };
    let note = signed(&forged.text(), edge.log.origin(), &other);
    let root = growth.root();
    edge.database.as_superuser("set session_replication_role = replica; delete from log_heads").await;
    let insert = "insert into log_heads (size, root, note) values ($1, $2, $3)";
    let size = i64::try_from(growth.size()).unwrap();
    edge.database.pool.get().await.unwrap().execute(insert, &[&size, &root.0.as_slice(), &note]).await.unwrap();
    let (code, said) = tools.verify(&[]).await;
    assert_eq!((code, said.contains("no known key has signed it")), (BROKEN, true), "{said}");

    // With no head left, what is kept elsewhere says it.
    edge.database.as_superuser("set session_replication_role = replica; delete from log_heads").await;
    let (code, said) = tools.verify(&[]).await;
    assert_eq!((code, said.contains("No head was signed yet")), (SOUND, true), "{said}");
    let (code, said) = tools.verify(&["--checkpoint", &kept_first, "--key", &keys]).await;
    assert_eq!(code, SOUND, "what was before is as it was: {said}");
    let (code, said) = tools.verify(&["--checkpoint", &kept_second, "--key", &keys]).await;
    assert_eq!((code, said.contains("the head of")), (BROKEN, true), "{said}");
    let (code, said) = tools.verify(&["--checkpoint", &kept_second, "--key", &keys, "--from", "3", "--to", "5"]).await;
    assert_eq!(code, BROKEN, "{said}");
    let cut =
        format!("set session_replication_role = replica; delete from log where position > {}; delete from log_tiles", second.size - 3);
    edge.database.as_superuser(&cut).await;
    grow(&edge.database).await;
    let (code, said) = tools.verify(&["--checkpoint", &kept_second, "--key", &keys]).await;
    let short = format!("a head of {} events was signed, and there are {}", second.size, second.size - 3);
    assert_eq!((code, said.contains(&short)), (BROKEN, true), "{said}");
}

/// The folder in which an embedded store has what is below a key.
fn in_store(edge: &TestEdge, key: &ObjectKey) -> PathBuf {
    fn found(folder: &Path, end: &str) -> Option<PathBuf> {
        std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
            let path = entry.path();
            if path.to_string_lossy().ends_with(end) {
                Some(path)
            } else if path.is_dir() {
                found(&path, end)
            } else {
                None
            }
        })
    }
    found(&edge.objects.folder.path().join("objects"), key.as_str()).expect("it lies there")
}

#[tokio::test]
async fn the_store_has_all_that_verifies_the_log_without_its_database() {
    let edge = TestEdge::start().await;
    let work = Work::begin(&edge).await;
    work.tasks(0, 600).await;
    let publishing =
        Publishing { pool: edge.database.pool.clone(), blobs: edge.objects.blobs.clone(), origin: edge.log.origin().to_owned() };
    assert_eq!(publishing.publish().await.unwrap(), None, "nothing was signed");
    let first = sign(&edge).await;

    // A store that is away is waited for, and nothing waits with it.
    let nowhere = keystone_edge::blobs::Access { endpoint: "http://127.0.0.1:9".into(), local: None, ..access(&edge.objects.s3) };
    let away = Publishing { blobs: Blobs::new(nowhere, &edge.objects.settings).unwrap(), ..publishing.clone() };
    assert!(matches!(away.publish().await, Err(PublishError::Blob(_))));
    work.orders(3).await;
    let second = sign(&edge).await;
    assert!(second.size > first.size);
    assert_eq!(publishing.publish().await.unwrap(), Some(second.size));
    assert_eq!(publishing.publish().await.unwrap(), None);

    // What a process that was killed wrote is written again, as it is.
    edge.database.as_superuser("delete from log_published").await;
    work.tasks(1, 200).await;
    let third = sign(&edge).await;
    assert_eq!(publishing.publish().await.unwrap(), Some(third.size));

    let tools = Tools::of(&edge);
    let (_, keys) = edge.get("/api/v1/log/keys").await;
    let keys = tools.keep("keys-of-the-route", keys.as_str().unwrap());
    let copy = in_store(&edge, &ObjectKey::of_log(edge.log.origin(), "checkpoint").unwrap()).parent().unwrap().display().to_string();
    // Nothing but the copy and the key.
    let (code, said) = tools.server.tool(&["verify", "--tiles", &copy, "--key", &keys]).await;
    assert_eq!((code, said.contains(&format!("{} events compared", third.size))), (SOUND, true), "{said}");

    note_all(&edge.database).await;
    let export = async |query: &str| {
        let answer = edge.request(&edge.admin, "GET", &format!("/api/v1/events/export?format=stored{query}")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let all = export("").await;
    let (whole, part) = (tools.keep("all", &all), tools.keep("part", export("&from_position=300&to_position=320").await));
    let kept = tools.keep("kept", &third.note);
    let sound = [
        vec!["--export", &whole, "--checkpoint", &kept],
        vec!["--export", &whole, "--tiles", &copy],
        vec!["--export", &part, "--tiles", &copy],
        vec!["--export", &part, "--tiles", &copy, "--checkpoint", &kept],
    ];
    for options in sound {
        let (code, said) = tools.verify(&[options.as_slice(), &["--key", &keys]].concat()).await;
        assert_eq!(code, SOUND, "{options:?}: {said}");
    }
    let line = |number: usize| all.lines().nth(number).unwrap();
    let changed = tools
        .keep("changed", all.replace(line(309), &line(309).replace("user:admin", "user:nobody").replace("task_created", "task_Created")));
    let removed = tools.keep("removed", all.replace(&format!("{}\n", line(309)), ""));
    for (file, named) in [(&changed, "position 310: changed: task/"), (&removed, "position 310: removed")] {
        let (code, said) = tools.verify(&["--export", file, "--tiles", &copy, "--key", &keys]).await;
        assert_eq!((code, said.contains(named)), (BROKEN, true), "{said}");
    }
    let (code, said) = tools.verify(&["--export", &changed, "--checkpoint", &kept, "--key", &keys]).await;
    assert_eq!((code, said.contains("that was signed is not that of the events")), (BROKEN, true), "{said}");
    let other = tools.keep("other.pem", SigningKey::of_pem(&SigningKey::new_pem().unwrap()).unwrap().public().pem());
    let not_looked = [
        vec!["--export", &part, "--checkpoint", &kept, "--key", &keys],
        vec!["--export", &whole, "--key", &keys],
        vec!["--export", &whole, "--checkpoint", &kept, "--key", &other],
        vec!["--export", &kept, "--checkpoint", &kept, "--key", &keys],
        vec!["--tiles", &tools.server.folder.to_str().unwrap(), "--key", &keys],
    ];
    for options in not_looked {
        let (code, said) = tools.verify(&options).await;
        assert_eq!(code, NOT_LOOKED, "{options:?}: {said}");
    }

    // A database that was restored from before is another log, and is not published over this one.
    edge.database.as_superuser(&format!("set session_replication_role = replica; delete from log_heads where size > {}; delete from log_tiles; delete from log where position > {}; delete from log_published", first.size, first.size)).await;
    grow(&edge.database).await;
    assert!(matches!(publishing.publish().await, Err(PublishError::AnotherLog { .. })));
    let client = edge.database.pool.get().await.unwrap();
    assert_eq!(published::size_in(&client, edge.log.origin()).await.unwrap(), 0);
}
