//! Every setting is read: an operator who sets a key that nothing looks at believes in a limit that is not there.

use std::collections::BTreeSet;

use keystone_edge::config::DEFAULTS;
use keystone_edge::domain::routing::SubscriberName;
use toml::{Table, Value};

use crate::sources::{code_of, crate_paths, is_word, module_of, read, source_files};

/// Units at the end of a key; inside the program a duration carries its own.
const UNITS: [&str; 4] = ["_s", "_ms", "_h", "_hours"];

/// A file that reads settings: its code with the dots of a chain joined, and the sections it knows by their type.
struct Reader {
    code: String,
    sections: Vec<String>,
}

fn reader(text: &str) -> Reader {
    let code = code_of(text);
    let sections = crate_paths(&code).into_iter().filter_map(|path| path.strip_prefix("config::").map(str::to_owned)).collect();
    let joined: Vec<&str> = code.split('.').map(str::trim_end).collect();
    Reader { code: joined.join("."), sections }
}

fn has_field(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let alone = path.starts_with('.') || !code[..at].ends_with(is_word);
        alone && !code[at + path.len()..].starts_with(is_word)
    })
}

/// Keys of `settings` as (section, field, key). A subscriber's table has the keys of the defaults.
fn keys(settings: &Table) -> Vec<(String, String, String)> {
    let field = |key: &str| UNITS.iter().find_map(|unit| key.strip_suffix(unit)).unwrap_or(key).to_owned();
    let mut found = vec![];
    for (section, value) in settings {
        match value {
            Value::Table(table) => {
                for (key, value) in table {
                    match value {
                        Value::Table(table) if key == "defaults" => {
                            found.extend(table.keys().map(|key| ("delivery".to_owned(), field(key), format!("{section}.defaults.{key}"))));
                        }
                        Value::Table(_) => {}
                        _ => found.push((section.clone(), field(key), format!("{section}.{key}"))),
                    }
                }
            }
            _ => found.push(("config".to_owned(), section.clone(), section.clone())),
        }
    }
    found
}

/// Whether a reader has `section.field`, or `.field` where it names the section's type. The names of types follow
/// from those of sections.
fn is_read(readers: &[Reader], section: &str, field: &str) -> bool {
    let mut letters = section.chars();
    let kind: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    readers.iter().any(|reader| {
        has_field(&reader.code, &format!("{section}.{field}"))
            || (reader.sections.contains(&kind) && kind != "Config" && has_field(&reader.code, &format!(".{field}")))
    })
}

fn unread(defaults: &str, readers: &[Reader]) -> Vec<String> {
    let settings: Table = defaults.parse().expect("TOML");
    keys(&settings).into_iter().filter(|(section, field, _)| !is_read(readers, section, field)).map(|(_, _, key)| key).collect()
}

#[test]
fn every_setting_is_read_outside_the_settings() {
    let outside = source_files().into_iter().filter(|path| module_of(path) != "config");
    let mut readers: Vec<Reader> = outside.map(|path| reader(&read(&path))).collect();
    assert_eq!(unread(DEFAULTS, &readers), Vec::<String>::new(), "nothing reads these");

    let planted = format!("{DEFAULTS}\n[planted]\nread_timeout_s = 1\n").replace("[limits]\n", "[limits]\nnever_read_bytes_max = 1\n");
    assert_eq!(unread(&planted, &readers), ["limits.never_read_bytes_max", "planted.read_timeout_s"]);
    readers
        .push(reader("use crate::config::Limits;\nfn f(l: &Limits) {\n    l\n        .never_read_bytes_max;\n}\n// planted.read_timeout"));
    assert_eq!(unread(&planted, &readers), ["planted.read_timeout_s"]);
}

/// A key that only a subscriber's table has would be looked for nowhere above, and a table that is missing can be set by no file.
#[test]
fn every_subscriber_has_a_table_and_no_keys_of_its_own() {
    let settings: Table = DEFAULTS.parse().expect("TOML");
    let outbox = settings["outbox"].as_table().expect("a table");
    let defaults = outbox["defaults"].as_table().expect("a table");
    let tables = outbox["subscribers"].as_table().expect("a table");
    let names: BTreeSet<&str> = tables.keys().map(String::as_str).collect();
    assert_eq!(names, SubscriberName::ALL.iter().map(|name| name.as_str()).collect());
    for (name, table) in tables {
        let odd: Vec<_> = table.as_table().expect("a table").keys().filter(|key| !defaults.contains_key(*key)).collect();
        assert!(odd.is_empty(), "{name}: {odd:?}");
    }
}
