//! Which module may use which: as the table of `docs/ARCHITECTURE.md` says, and no more than is used.

use std::collections::BTreeMap;

use crate::sources::{code_of, code_words, crate_paths, module_of, read, root, source_files, table_rows};

/// Which modules of `src/` a module may use beside itself, or which part of one.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("eventstore", &["domain", "outbox", "pg"]),
    ("outbox", &["domain", "pg::plans"]),
    ("projections", &["domain", "eventstore", "outbox::letters", "pg"]),
    // The rows that go into the outbox with the events are made where the events are decided.
    ("commands", &["domain", "eventstore", "outbox::letters", "outbox::subscribed", "pg::plans", "projections", "quality"]),
    // What is done about the objects of an episode is the same for a delivery, a request and a bulk run.
    ("qa", &["domain", "commands", "projections", "blobs", "mcap", "quality"]),
    // Certificates are made for a request and for a destination alike.
    ("certificates", &["domain", "projections"]),
    ("dispatcher", &["domain", "outbox", "eventstore", "pg"]),
    ("subscribers", &["domain", "commands", "projections", "blobs", "certificates", "cloud", "mcap", "devices", "dispatcher", "qa"]),
    ("devices", &["domain", "commands", "projections"]),
    ("http", &["domain", "commands", "projections", "devices", "blobs", "qa", "streams", "certificates", "cloud::platform"]),
    ("streams", &["projections"]),
    // Facts are values of the domain: they are stored with the episode.
    ("mcap", &["domain"]),
    ("quality", &["domain"]),
    ("blobs", &["config"]),
    ("cloud", &["domain", "blobs", "config", "gateway_api"]),
    // Its data folder and object keys have the shapes of `blobs`; the oldest Postgres is named in `pg`.
    ("embedded", &["config", "blobs", "pg"]),
    // Generated from the definitions of another house's services.
    ("gateway_api", &[]),
    // A peer: what both sides took from one place would prove nothing about the wire. Only what was generated is the same for both.
    ("simulator", &["gateway_api"]),
    // Beside the server: it asks what the server uses.
    ("doctor", &["config", "pg", "blobs", "embedded", "outbox", "projections"]),
    ("config", &["listener"]),
    ("pg", &["config"]),
    ("listener", &["telemetry"]),
    ("telemetry", &["config"]),
    ("lifecycle", &["telemetry"]),
];

/// May be used by everyone who uses anything: names of measures, the owner of tasks, and what accepts connections.
const EVERYWHERE: &[&str] = &["telemetry", "lifecycle", "listener"];

/// Modules that do not use those either.
const APART: &[&str] = &["domain", "gateway_api", "simulator"];

/// Put everything together and may use all of it.
const COMPOSITION: &[&str] = &["app", "cli", "main", "lib"];

fn allows(permission: &str, path: &str) -> bool {
    path.strip_prefix(permission).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn allowed_to(module: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed)
}

/// Paths of a module's code into other modules.
fn paths_out_of(module: &str, code: &str) -> Vec<String> {
    let known = |target: &str| allowed_to(target).is_some() || COMPOSITION.contains(&target);
    let outside = |path: &String| path.split("::").next().is_some_and(|target| target != module && known(target));
    crate_paths(code).into_iter().filter(outside).collect()
}

/// Paths of a module's code that its arrows do not allow.
fn forbidden_paths(module: &str, code: &str) -> Vec<String> {
    if COMPOSITION.contains(&module) {
        return vec![];
    }
    let Some(allowed) = allowed_to(module) else { return vec![format!("`{module}` is not in the table of arrows")] };
    let everywhere = if APART.contains(&module) { &[] } else { EVERYWHERE };
    let fine = |path: &String| allowed.iter().chain(everywhere).any(|permission| allows(permission, path));
    paths_out_of(module, code).into_iter().filter(|path| !fine(path)).collect()
}

/// What each module's code uses of the others.
fn uses() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in source_files() {
        let module = module_of(&path);
        let paths = paths_out_of(&module, &code_of(&read(&path)));
        found.entry(module).or_default().extend(paths);
    }
    found
}

/// Permissions that none of these paths needs.
fn unused(arrows: &[(&str, &[&str])], uses: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let needs = |module: &str, permission: &str| uses.get(module).is_some_and(|paths| paths.iter().any(|path| allows(permission, path)));
    let each = arrows.iter().flat_map(|(module, allowed)| allowed.iter().map(move |permission| (*module, *permission)));
    each.filter(|(module, permission)| !needs(module, permission)).map(|(module, permission)| format!("{module} -> {permission}")).collect()
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
    assert_eq!(forbidden_paths("simulator", "use crate::telemetry::X;"), ["telemetry::X"]);
    assert_eq!(forbidden_paths("dispatcher", "use crate::subscribers::webhooks;"), ["subscribers::webhooks"]);
    assert_eq!(forbidden_paths("projections", "let x = crate::commands::Commands::new();"), ["commands::Commands::new"]);
    assert_eq!(forbidden_paths("brand_new", "").len(), 1);
    assert!(forbidden_paths("http", &code_of("// crate::outbox\n#[cfg(test)]\nmod tests {\n use crate::outbox::Wakes;\n}")).is_empty());
    assert_eq!(forbidden_paths("commands", "use crate::outbox::settle;"), ["outbox::settle"]);
}

#[test]
fn every_permission_is_needed() {
    let uses = uses();
    assert_eq!(unused(ARROWS, &uses), Vec::<String>::new(), "arrows that nothing needs");
    let idle: Vec<_> = EVERYWHERE.iter().filter(|module| !uses.values().flatten().any(|path| allows(module, path))).collect();
    assert!(idle.is_empty(), "nothing uses {idle:?}");
    let modules: Vec<_> = ARROWS.iter().map(|(module, _)| module).filter(|module| !uses.contains_key(**module)).collect();
    assert!(modules.is_empty(), "there is no module {modules:?}");
    assert_eq!(unused(&[("mcap", &["pg"]), ("domain", &[])], &uses), ["mcap -> pg"], "a planted one is found");
}

/// The rows of the table of modules: a module, and what it may use.
fn documented(text: &str) -> BTreeMap<String, Vec<String>> {
    let (_, section) = text.split_once("\n## Modules\n").expect("a section of modules");
    let mut found = BTreeMap::new();
    for cells in table_rows(section.split("\n## ").next().unwrap_or_default()) {
        let [modules, _what, may_use] = cells.as_slice() else { panic!("a row with {} columns: {cells:?}", cells.len()) };
        let may_use = if may_use == "everything" { vec![may_use.clone()] } else { code_words(may_use) };
        for module in code_words(modules) {
            assert_eq!(found.insert(module.clone(), may_use.clone()), None, "`{module}` twice");
        }
    }
    found
}

#[test]
fn the_table_of_modules_is_that_of_the_code() {
    let text = read(&root().join("docs/ARCHITECTURE.md"));
    let arrows = ARROWS.iter().map(|(module, allowed)| ((*module).to_owned(), allowed.iter().map(|name| (*name).to_owned()).collect()));
    let everything = ["app", "cli"].map(|module| (module.to_owned(), vec!["everything".to_owned()]));
    let expected: BTreeMap<String, Vec<String>> = arrows.chain(everything).collect();
    assert_eq!(documented(&text), expected);
    let everywhere = EVERYWHERE.iter().map(|module| format!("`{module}`")).collect::<Vec<_>>().join(", ");
    let apart = APART.iter().map(|module| format!("`{module}`")).collect::<Vec<_>>().join(", ");
    assert!(text.contains(&format!("Each may use {everywhere} besides, except {apart}")), "{everywhere}; {apart}");
    let changed = documented(&text.replace("| `mcap` | bytes of a recording to facts | `domain` |", "| `mcap` | facts | `domain`, `pg` |"));
    assert_ne!(changed, expected, "a planted arrow is noticed");
}
