//! What no compiler checks: the purity of the rules, and that the documents say what the code does. Reads files,
//! starts nothing. How the program hangs together, `structure` looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use cqrs_es::persist::EventUpcaster;
use keystone_edge::domain::kinds::{EachKind, Listed, each_kind};
use keystone_edge::domain::routing::{self, Subject, SubscriberName};
use keystone_edge::domain::{DeviceId, Event};
use keystone_edge::eventstore::upcast::{upcast, upcasters};
use serde_json::Value;

use crate::sources::{code_of, code_words, files_in, is_word, module_of, read, root, source_files, table_rows};

/// What the rules do not touch: whatever waits, stores, logs, or knows the time.
const IMPURE: &[&str] = &[
    "tokio::",
    "tokio_postgres::",
    "tokio_util::",
    "futures_util::",
    "deadpool_postgres::",
    "rand::",
    "tracing::",
    "metrics::",
    "Utc::now",
    "Local::now",
    "SystemTime",
    "Instant",
    "Uuid::new_v4",
    "std::fs",
    "std::env",
    "std::net",
    "std::thread",
    "async fn",
    "println!",
];

/// Words of [`IMPURE`] that stand in a piece of code.
fn impurities(code: &str) -> Vec<&'static str> {
    let stands_in = |word: &str| {
        code.match_indices(word).any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
    };
    IMPURE.iter().copied().filter(|word| if word.ends_with(':') { code_has_path(code, word) } else { stands_in(word) }).collect()
}

fn code_has_path(code: &str, start: &str) -> bool {
    code.match_indices(start).any(|(at, _)| !code[..at].ends_with(is_word))
}

#[test]
fn the_rules_wait_for_nothing_and_know_no_clock() {
    let mut broken = vec![];
    let folders = ["src/domain", "src/quality"].map(|folder| files_in(&root().join(folder), "rs"));
    for path in folders.into_iter().flatten() {
        broken.extend(impurities(&code_of(&read(&path))).into_iter().map(|word| format!("{}: {word}", path.display())));
    }
    assert!(broken.is_empty(), "in the domain or where recordings are judged:\n{}", broken.join("\n"));
    let planted = "use tokio::sync::mpsc; fn at() { chrono::Utc::now(); } fn r() -> u8 { rand::random() } struct Instantly;";
    assert_eq!(impurities(planted), ["tokio::", "rand::", "Utc::now"]);
    assert!(impurities("use my_tokio::x; // tokio::spawn").contains(&"tokio::"), "comments are taken out before");
    assert!(impurities(&code_of("// tokio::spawn\nfn operand() {}")).is_empty());
}

#[test]
fn what_devices_and_clients_read_and_write_is_not_what_is_stored() {
    let stored = ["OrderEvent", "BatchEvent", "TaskEvent", "EpisodeEvent", "DeviceEvent", "StationEvent", "RecordEvent"];
    for path in source_files().into_iter().filter(|path| path.ends_with("wire.rs")) {
        let code = code_of(&read(&path));
        let found: Vec<_> = stored.iter().filter(|name| code.contains(*name)).collect();
        assert!(found.is_empty() && !code.contains("eventstore"), "{}: {found:?}", path.display());
    }
}

#[test]
fn every_file_that_reads_names_its_statements() {
    let folder = root().join("src/projections/reads");
    let all = code_of(&read(&folder.join("mod.rs")));
    let mut missing = vec![];
    for path in files_in(&folder, "rs") {
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if code_of(&read(&path)).contains("row! {") && !all.contains(&format!("{stem}::statements()")) {
            missing.push(stem);
        }
    }
    assert!(missing.is_empty(), "no test prepares their statements: {missing:?}");
}

/// Ways to a connection that nobody watches over; `pg` has the one that is.
const UNWATCHED: &[&str] =
    &["tokio_postgres::connect", "connect_raw", "NoTls", "Manager::", "deadpool_postgres::Config", "tokio_postgres::Config"];

#[test]
fn every_database_connection_is_opened_where_it_is_watched() {
    let mut found = vec![];
    // A private cluster is prepared by `embedded`: a child of this process, on this machine.
    for path in source_files().into_iter().filter(|path| !matches!(module_of(path).as_str(), "pg" | "embedded")) {
        let code = code_of(&read(&path));
        // The settings read a URL as one and open nothing.
        let read_only = |way: &str| module_of(&path) == "config" && way == "tokio_postgres::Config";
        found
            .extend(UNWATCHED.iter().filter(|way| code.contains(**way) && !read_only(way)).map(|way| format!("{}: {way}", path.display())));
    }
    assert_eq!(found, Vec::<String>::new());
    assert!(code_of("tokio_postgres::connect(url, NoTls)").contains(UNWATCHED[0]));
}

#[test]
fn what_is_left_to_do_says_why() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut broken = vec![];
    for folder in ["src", "tests", "benches", "schema", "config"] {
        for path in ["rs", "sql", "toml"].iter().flat_map(|extension| files_in(&root().join(folder), extension)) {
            for (number, line) in read(&path).lines().enumerate() {
                let reason = marks.iter().find_map(|mark| line.split_once(mark)).map(|(_, after)| after.trim_start_matches([':', ' ']));
                if reason.is_some_and(|reason| reason.len() < 15) {
                    broken.push(format!("{}:{}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "without a reason:\n{}", broken.join("\n"));
}

/// One kind of stream: its events today, and how a payload becomes one of them and back.
struct Kind {
    stream: &'static str,
    types: Vec<(&'static str, &'static str)>,
    /// Type and payload after one trip through the type of today.
    round_trip: fn(Value) -> Result<(&'static str, Value), String>,
    /// The subscribers that are told of an event with this payload.
    followers: fn(Value) -> Vec<&'static str>,
}

struct Kinds(Vec<Kind>);

impl EachKind for Kinds {
    fn kind<A: Listed>(&mut self) {
        self.0.push(Kind {
            stream: A::TYPE,
            types: A::Event::types(),
            round_trip: |payload| {
                let event: A::Event = serde_json::from_value(payload).map_err(|error| error.to_string())?;
                Ok((event.event_type(), serde_json::to_value(&event).map_err(|error| error.to_string())?))
            },
            followers: |payload| {
                let event: A::Event = serde_json::from_value(payload).expect("a payload of today");
                let device = DeviceId::parse("AB-F0001-T0001-000001").expect("a device id");
                let id = if A::TYPE == "device" { device.as_str() } else { "17" };
                let subject = Subject { id, device: Some(&device) };
                let queued = routing::deliveries(&event, subject).expect("a device");
                queued.iter().map(|queued| queued.subscriber.as_str()).collect()
            },
        });
    }
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Kinds(vec![]);
    each_kind(&mut kinds);
    kinds.0
}

#[test]
fn a_type_of_event_belongs_to_one_kind_of_stream() {
    let mut owners = BTreeMap::new();
    for kind in kinds() {
        for (name, _) in kind.types {
            assert_eq!(owners.insert(name, kind.stream), None, "`{name}` is written by two kinds of streams");
        }
    }
}

fn golden_folder() -> PathBuf {
    root().join("tests/golden/events")
}

fn golden(event_type: &str, version: &str) -> Value {
    let path = golden_folder().join(format!("{event_type}.v{version}.json"));
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; every version of an event keeps an example of what was stored", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fields inside the one name that a payload has on top.
fn fields(payload: &Value) -> BTreeMap<String, Value> {
    let body = payload.as_object().and_then(|map| map.values().next()).and_then(Value::as_object);
    body.map(|body| body.iter().map(|(key, value)| (key.clone(), value.clone())).collect()).unwrap_or_default()
}

#[test]
fn the_document_of_events_says_what_the_code_does() {
    let mut documented = BTreeMap::new();
    for cells in table_rows(&read(&root().join("docs/events.md"))) {
        let [name, version, stream, _when, payload, followers] = cells.as_slice() else {
            panic!("docs/events.md: a row with {} columns: {cells:?}", cells.len());
        };
        let name = code_words(name).remove(0);
        let row = (version.clone(), code_words(stream).remove(0), code_words(payload), code_words(followers));
        assert_eq!(documented.insert(name.clone(), row), None, "docs/events.md has `{name}` twice");
    }
    for kind in kinds() {
        for (name, version) in &kind.types {
            let row = documented.remove(*name).unwrap_or_else(|| panic!("docs/events.md does not have `{name}`"));
            let (its_version, its_stream, its_fields, its_followers) = row;
            assert_eq!((its_version.as_str(), its_stream.as_str()), (*version, kind.stream), "docs/events.md, `{name}`");
            let stored = golden(name, version);
            assert_eq!(its_followers, (kind.followers)(stored.clone()), "docs/events.md, who follows `{name}`");

            let plain: BTreeSet<String> = its_fields.iter().map(|field| field.trim_end_matches('?').to_owned()).collect();
            assert_eq!(plain, fields(&stored).into_keys().collect(), "docs/events.md, the payload of `{name}`");
            for field in its_fields.iter().filter_map(|field| field.strip_suffix('?')) {
                let mut without = stored.clone();
                let body = without.as_object_mut().and_then(|map| map.values_mut().next()).expect("a payload");
                body[field] = Value::Null;
                (kind.round_trip)(without).unwrap_or_else(|error| panic!("`{name}` without `{field}`: {error}"));
            }
        }
    }
    assert!(documented.is_empty(), "docs/events.md has what the code does not: {:?}", documented.keys());
}

#[test]
fn every_subscriber_follows_some_event() {
    let followers_of =
        |kind: &Kind| -> Vec<&str> { kind.types.iter().flat_map(|(name, version)| (kind.followers)(golden(name, version))).collect() };
    let followers: BTreeSet<&str> = kinds().iter().flat_map(followers_of).collect();
    assert_eq!(followers, SubscriberName::ALL.iter().map(|name| name.as_str()).collect());
}

/// What reading a stored payload gives today, and whether it is written like that.
fn read_back(kinds: &[Kind], upcasters: &[Box<dyn EventUpcaster>], name: &str, version: &str, stored: &Value) -> Result<(), String> {
    let kind = kinds.iter().find(|kind| kind.types.iter().any(|(known, _)| *known == name)).ok_or("no stream writes this type")?;
    let newest = kind.types.contains(&(name, version));
    let (read_as, written) = (kind.round_trip)(upcast(upcasters, name, version, stored.clone()))?;
    if read_as != name {
        return Err(format!("it is read as `{read_as}`"));
    }
    if newest && written != *stored {
        return Err(format!("it would be written as {written}: a new shape needs a new version"));
    }
    Ok(())
}

#[test]
fn every_version_of_an_event_ever_stored_can_be_read() {
    let (kinds, upcasters) = (kinds(), upcasters());
    for kind in &kinds {
        for (name, version) in &kind.types {
            golden(name, version);
        }
    }
    let files = files_in(&golden_folder(), "json");
    assert!(files.len() >= kinds.iter().map(|kind| kind.types.len()).sum());
    for path in files {
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (name, version) = stem.rsplit_once(".v").unwrap_or_else(|| panic!("{stem}: not <type>.v<version>.json"));
        let outcome = read_back(&kinds, &upcasters, name, version, &golden(name, version));
        assert_eq!(outcome, Ok(()), "{stem}");
    }
    let planted = serde_json::json!({ "order_started": { "at": "2026-11-20T19:53:07Z" } });
    assert!(read_back(&kinds, &upcasters, "order_started", "1.0", &planted).is_err(), "a changed shape is noticed");
}

/// Words for which the field has a plainer one: *the caller*, *another process*, *a request*, *must*.
const SHUNNED: [&str; 5] = ["whoever", "somebody", "wish", "abroad", "shall"];

/// Migrations that were made with such words: a migration is never edited.
const AS_THEY_ARE: [&str; 4] =
    ["schema/V3__read_models.sql", "schema/V7__idempotency.sql", "schema/V9__processes.sql", "schema/V16__contests_and_predecessors.sql"];

fn shunned(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphabetic()).collect();
    SHUNNED.into_iter().filter(|word| words.contains(word)).collect()
}

#[test]
fn texts_name_who_does_what() {
    let mut texts = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in ["src", "docs", "schema", "config"] {
        texts.extend(["rs", "md", "sql", "toml", "yaml"].iter().flat_map(|extension| files_in(&root().join(folder), extension)));
    }
    let mut broken = vec![];
    for path in texts.into_iter().filter(|path| !AS_THEY_ARE.iter().any(|known| path.ends_with(known))) {
        for (number, line) in read(&path).lines().enumerate() {
            broken.extend(shunned(line).into_iter().map(|word| format!("{}:{}: {word}", path.display(), number + 1)));
        }
    }
    assert!(broken.is_empty(), "plainer words:\n{}", broken.join("\n"));
    assert_eq!(shunned("Whoever comes; heard_from_abroad, wishful, shallow"), ["whoever", "abroad"]);
}
