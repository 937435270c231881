//! What no compiler checks: the arrows between modules, the purity of the rules, and that
//! the documents say what the code does. Reads files, starts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cqrs_es::persist::EventUpcaster;
use keystone_edge::domain::kinds::{EachKind, Listed, each_kind};
use keystone_edge::domain::routing::{self, Subject, SubscriberName};
use keystone_edge::domain::{DeviceId, Event};
use keystone_edge::eventstore::upcast::{upcast, upcasters};
use serde_json::Value;

/// Which modules of `src/` a module may use, beside itself. `app`, `cli`, `main` and `lib` put
/// everything together and may use all of it.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("eventstore", &["domain", "outbox", "pg"]),
    ("outbox", &["domain", "pg"]),
    ("projections", &["domain", "eventstore", "pg"]),
    ("commands", &["domain", "eventstore", "projections"]),
    ("dispatcher", &["domain", "outbox", "eventstore", "pg"]),
    ("subscribers", &["domain", "commands", "projections", "blobs", "mcap", "devices", "dispatcher"]),
    ("devices", &["domain", "commands", "projections"]),
    ("http", &["domain", "commands", "projections", "devices", "blobs"]),
    ("mcap", &["domain"]),
    ("blobs", &["config"]),
    // Its data folder and object keys have the shapes of `blobs`; the oldest Postgres is named in `pg`.
    ("embedded", &["config", "blobs", "pg"]),
    ("simulator", &["devices", "mcap"]),
    // Beside the server: it asks what the server uses.
    ("doctor", &["config", "pg", "blobs", "embedded", "outbox", "projections"]),
    ("pg", &["config"]),
    ("config", &["pg"]),
    ("lifecycle", &["config"]),
    ("listener", &[]),
    ("telemetry", &["config"]),
];

/// May be used by everyone: names of measures, the owner of tasks, and what accepts connections.
const EVERYWHERE: &[&str] = &["telemetry", "lifecycle", "listener"];

const COMPOSITION: &[&str] = &["app", "cli", "main", "lib"];

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

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries.map(|entry| entry.expect("a readable folder").path()) {
        if entry.is_dir() {
            found.extend(files_in(&entry, extension));
        } else if entry.extension().is_some_and(|ending| ending == extension) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code of a file without its comments and without its unit tests, which may use what they like.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            // A module of tests in another file is one line, in this file it is the rest.
            if lines.next().is_some_and(|next| next.trim_end().ends_with(';')) {
                continue;
            }
            break;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path below `crate::`, with the groups of a `use` taken apart.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = vec![];
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        expand(&code[at + "crate::".len()..], String::new(), &mut paths);
    }
    paths
}

/// Reads one path with its groups; answers how much of the text it took.
fn expand(text: &str, before: String, paths: &mut Vec<String>) -> usize {
    let text_start = text.trim_start();
    let skipped = text.len() - text_start.len();
    if !text_start.starts_with('{') {
        let length = text_start.find(|c| !is_word(c)).unwrap_or(text_start.len());
        let here = format!("{before}{}", &text_start[..length]);
        let rest = &text_start[length..];
        if let Some(deeper) = rest.strip_prefix("::").filter(|deeper| deeper.starts_with(|c: char| is_word(c) || c == '{')) {
            return skipped + length + 2 + expand(deeper, here + "::", paths);
        }
        paths.push(here);
        return skipped + length;
    }
    let mut at = 1;
    loop {
        at += expand(&text_start[at..], before.clone(), paths);
        let rest = &text_start[at..];
        let Some(next) = rest.find([',', '}']) else { return text.len() };
        at += next + 1;
        let closing_comma = text_start[at..].trim_start().starts_with('}');
        if rest[next..].starts_with('}') {
            return skipped + at;
        }
        if closing_comma {
            return skipped + at + text_start[at..].find('}').unwrap_or_default() + 1;
        }
    }
}

/// The module of `src/` that a file belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("a file in src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Paths of a module's code that its arrows do not allow.
fn forbidden_paths(module: &str, code: &str) -> Vec<String> {
    if COMPOSITION.contains(&module) {
        return vec![];
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("`{module}` is not in the table of arrows")];
    };
    let known = |target: &str| ARROWS.iter().any(|(name, _)| *name == target) || COMPOSITION.contains(&target);
    crate_paths(code)
        .into_iter()
        .filter(|path| {
            let target = path.split("::").next().unwrap_or_default();
            known(target) && target != module && !allowed.contains(&target) && !EVERYWHERE.contains(&target)
        })
        .collect()
}

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

fn source_files() -> Vec<PathBuf> {
    files_in(&root().join("src"), "rs").into_iter().filter(|path| path.file_name().is_some_and(|name| name != "tests.rs")).collect()
}

#[test]
fn modules_use_only_what_the_arrows_allow() {
    let mut broken = vec![];
    for path in source_files() {
        for found in forbidden_paths(&module_of(&path), &code_of(&read(&path))) {
            broken.push(format!("{}: {found}", path.display()));
        }
    }
    assert!(broken.is_empty(), "arrows that docs/ARCHITECTURE.md does not have:\n{}", broken.join("\n"));
}

#[test]
fn a_planted_arrow_is_found() {
    let planted =
        "use crate::{domain::{TaskId, ids}, eventstore::{\n    EventStore,\n}, commands::Commands,};\nfn f() { crate::outbox::claim(); }";
    assert_eq!(crate_paths(planted), ["domain::TaskId", "domain::ids", "eventstore::EventStore", "commands::Commands", "outbox::claim"]);
    assert_eq!(forbidden_paths("http", planted), ["eventstore::EventStore", "outbox::claim"]);
    assert_eq!(forbidden_paths("domain", "use crate::commands::Commands;"), ["commands::Commands"]);
    assert_eq!(forbidden_paths("dispatcher", "use crate::subscribers::webhooks;"), ["subscribers::webhooks"]);
    assert_eq!(forbidden_paths("projections", "let x = crate::commands::Commands::new();"), ["commands::Commands::new"]);
    assert_eq!(forbidden_paths("brand_new", "").len(), 1);
    assert!(forbidden_paths("http", &code_of("// crate::outbox\n#[cfg(test)]\nmod tests {\n use crate::outbox::Wakes;\n}")).is_empty());
    assert_eq!(forbidden_paths("commands", "use crate::outbox::settle;"), ["outbox::settle"]);
}

#[test]
fn the_rules_wait_for_nothing_and_know_no_clock() {
    let mut broken = vec![];
    for path in files_in(&root().join("src/domain"), "rs") {
        broken.extend(impurities(&code_of(&read(&path))).into_iter().map(|word| format!("{}: {word}", path.display())));
    }
    assert!(broken.is_empty(), "in the domain:\n{}", broken.join("\n"));
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

/// Ways to a connection that nobody watches over; `pg` has the one that is.
const UNWATCHED: &[&str] =
    &["tokio_postgres::connect", "connect_raw", "NoTls", "Manager::", "deadpool_postgres::Config", "tokio_postgres::Config"];

#[test]
fn every_database_connection_is_opened_where_it_is_watched() {
    let mut found = vec![];
    // A private cluster is prepared by `embedded`: a child of this process, on this machine.
    for path in source_files().into_iter().filter(|path| !matches!(module_of(path).as_str(), "pg" | "embedded")) {
        let code = code_of(&read(&path));
        found.extend(UNWATCHED.iter().filter(|way| code.contains(**way)).map(|way| format!("{}: {way}", path.display())));
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
                let subject = Subject { id: device.as_str(), device: Some(&device) };
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

/// One row of a table in a document: its cells, without what marks them as code.
fn table_rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('|').trim().to_owned()).collect()).collect()
}

fn code_words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
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

#[test]
fn measures_that_are_documented_exist() {
    let sources: String = source_files().iter().map(|path| code_of(&read(path))).collect();
    for cells in table_rows(&read(&root().join("docs/operations.md"))) {
        for name in code_words(&cells[0]).iter().filter(|name| name.starts_with("keystone_")) {
            assert!(sources.contains(&format!("\"{name}\"")), "docs/operations.md names `{name}`, which nothing records");
        }
    }
}
