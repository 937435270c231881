//! Every setting: its value, where that comes from, and what `config/default.toml` says of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use toml::{Table, Value};

use super::environment::{self, Effect, VARIABLES};
use super::error::ConfigError;
use super::given::Given;
use super::layers::{self, DEFAULTS};

/// Settings that must not show.
const SECRETS: [&str; 8] = [
    "database.url",
    "database.password",
    "s3.secret_key",
    "auth.jwt_secret",
    "auth.admin_password",
    "auth.display_token",
    "sync.s3.secret_key",
    "sync.receiver.token",
];

/// The end of a key, and what it counts.
const UNITS: [(&str, &str); 5] =
    [("_ms", "milliseconds"), ("_s", "seconds"), ("_hours", "hours"), ("_h", "hours"), ("_bytes_max", "bytes")];

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    pub key: String,
    /// As text. Of a secret only `set`; `None` where nothing is set.
    pub value: Option<String>,
    pub origin: Origin,
    /// What sets it in the environment, the name that wins first.
    pub variables: Vec<&'static str>,
    pub unit: Option<&'static str>,
    pub meaning: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "name")]
pub enum Origin {
    Default,
    File(String),
    Environment(String),
    DotEnv(String),
    /// A file of the data folder, where nothing is set.
    DataFolder(String),
}

/// A key as the default file writes it down.
struct Documented {
    key: String,
    meaning: String,
}

/// The keys of the default file in their order, each with the comment above it. A key right behind another shares its comment.
fn documented() -> Vec<Documented> {
    let (mut found, mut section, mut comment, mut told) = (vec![], String::new(), vec![], true);
    for line in DEFAULTS.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix('#') {
            if std::mem::take(&mut told) {
                comment.clear();
            }
            comment.push(text.trim());
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            comment.clear();
        } else if let Some((key, _)) = line.split_once(" = ") {
            told = true;
            let key = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            found.push(Documented { key, meaning: without_variables(&comment.join(" ")) });
        } else {
            comment.clear();
        }
    }
    found
}

/// The names of variables stand in brackets at the end.
fn without_variables(comment: &str) -> String {
    let end = comment.find(" [KEYSTONE_").or_else(|| comment.starts_with("[KEYSTONE_").then_some(0));
    comment[..end.unwrap_or(comment.len())].to_owned()
}

/// Every setting with where it comes from, also where it cannot be used.
pub fn settings(given: &Given) -> Result<Vec<Setting>, ConfigError> {
    listed(given.file(), &given.environment, &given.dot_env)
}

fn listed(
    file: Option<(&str, &str)>,
    variables: &BTreeMap<String, String>,
    dot_env: &BTreeSet<String>,
) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = layers::parse("config/default.toml", DEFAULTS)?;
    let mut given = Table::new();
    if let Some((name, text)) = file {
        given = layers::parse(name, text)?;
        layers::merge(&mut settings, given.clone(), name, "")?;
    }
    environment::apply(&mut settings, variables, &mut vec![])?;
    let mut all = documented();
    add_subscribers_own(&mut all, &given);
    let general = general_meanings(&all);
    let shown = all.into_iter().map(|Documented { key, meaning }| {
        let setters = setters(&key);
        let is_set = |name: &&&str| variables.get(**name).is_some_and(|value| !value.trim().is_empty());
        let origin = match (setters.iter().find(is_set), file) {
            (Some(name), _) if dot_env.contains(*name) => Origin::DotEnv((*name).to_owned()),
            (Some(name), _) => Origin::Environment((*name).to_owned()),
            (None, Some((name, _))) if at(&given, &key).is_some() => Origin::File(name.to_owned()),
            (None, _) => Origin::Default,
        };
        let value = at(&settings, &key).map(text).filter(|text| !text.is_empty());
        let secret = SECRETS.contains(&&*key);
        Setting {
            value: if secret { value.map(|_| "set".to_owned()) } else { value },
            origin,
            variables: setters,
            meaning: if meaning.is_empty() { general.get(last(&key)).cloned().unwrap_or_default() } else { meaning },
            unit: UNITS.iter().find(|(end, _)| key.ends_with(end)).map(|(_, unit)| *unit),
            key,
        }
    });
    Ok(shown.collect())
}

/// A subscriber's table may have any key of the defaults.
fn add_subscribers_own(all: &mut Vec<Documented>, given: &Table) {
    let tables = at(given, "outbox.subscribers").and_then(Value::as_table);
    for (name, table) in tables.into_iter().flatten() {
        for key in table.as_table().into_iter().flat_map(Table::keys) {
            let full = format!("outbox.subscribers.{name}.{key}");
            if all.iter().any(|known| known.key == full) {
                continue;
            }
            all.push(Documented { key: full, meaning: String::new() });
        }
    }
}

/// What is said of a subscriber's key where its table says nothing.
fn general_meanings(all: &[Documented]) -> BTreeMap<String, String> {
    let defaults = all.iter().filter_map(|known| Some((known.key.strip_prefix("outbox.defaults.")?, &known.meaning)));
    defaults.map(|(key, meaning)| (key.to_owned(), meaning.clone())).collect()
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

fn setters(key: &str) -> Vec<&'static str> {
    let sets = |effect: &Effect| match effect {
        Effect::Set(sets) | Effect::Port(sets) => *sets == key,
        Effect::DeviceAuth => key == "devices.auth",
        Effect::S3Tls => key == "s3.endpoint",
        Effect::Mode | Effect::Ignored(_) | Effect::Elsewhere => false,
    };
    // The later one wins.
    VARIABLES.iter().rev().filter(|(_, effect)| sets(effect)).map(|(name, _)| *name).collect()
}

fn at<'a>(settings: &'a Table, key: &str) -> Option<&'a Value> {
    let mut segments = key.split('.');
    let first = settings.get(segments.next()?)?;
    segments.try_fold(first, |value, segment| value.get(segment))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(file: &str, variables: &[(&str, &str)], dot_env: &[&str]) -> BTreeMap<String, Setting> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let dot_env = dot_env.iter().map(|name| (*name).to_owned()).collect();
        let all = listed(Some(("site.toml", file)), &variables, &dot_env).unwrap();
        all.into_iter().map(|setting| (setting.key.clone(), setting)).collect()
    }

    fn keys_of(table: &Table, path: &str, found: &mut BTreeSet<String>) {
        for (key, value) in table {
            match value {
                Value::Table(table) => keys_of(table, &format!("{path}{key}."), found),
                _ => drop(found.insert(format!("{path}{key}"))),
            }
        }
    }

    #[test]
    fn every_setting_is_listed_with_a_meaning() {
        let mut known = BTreeSet::new();
        keys_of(&DEFAULTS.parse().unwrap(), "", &mut known);
        let listed = shown("", &[], &[]);
        assert_eq!(listed.keys().cloned().collect::<BTreeSet<_>>(), known);
        let silent = listed.values().filter(|setting| setting.meaning.is_empty());
        assert_eq!(silent.map(|setting| &*setting.key).collect::<Vec<_>>(), Vec::<&str>::new());
        assert_eq!(listed["http.bind"].meaning, "Where REST, events and callbacks are served; `:8080` means every address.");
        assert_eq!(listed["devices.recorder_ping_timeout_s"].meaning, listed["devices.recorder_ping_interval_s"].meaning);
    }

    #[test]
    fn a_setting_says_where_it_comes_from() {
        let file = "[http]\nread_timeout_s = 5\nwrite_timeout_s = 6\n[outbox.subscribers.device_commands]\nbackoff_cap_ms = 9000\n";
        let variables = [
            ("KEYSTONE_READ_TIMEOUT", "7"),
            ("KEYSTONE_MINIO_BUCKET", "old"),
            ("KEYSTONE_S3_BUCKET", "new"),
            ("KEYSTONE_AXON_RECORDER_WS_PORT", "18091"),
            ("KEYSTONE_BIND_ADDR", ""),
        ];
        let listed = shown(file, &variables, &["KEYSTONE_S3_BUCKET"]);
        let found = |key: &str| (listed[key].value.as_deref(), listed[key].origin.clone());
        let environment = |name: &str| Origin::Environment(name.to_owned());
        assert_eq!(found("http.read_timeout_s"), (Some("7"), environment("KEYSTONE_READ_TIMEOUT")));
        assert_eq!(found("http.write_timeout_s"), (Some("6"), Origin::File("site.toml".to_owned())));
        assert_eq!(found("s3.bucket"), (Some("new"), Origin::DotEnv("KEYSTONE_S3_BUCKET".to_owned())));
        assert_eq!(found("devices.recorder_bind"), (Some("127.0.0.1:18091"), environment("KEYSTONE_AXON_RECORDER_WS_PORT")));
        assert_eq!(found("http.bind"), (Some("0.0.0.0:8080"), Origin::Default));
        let own = &listed["outbox.subscribers.device_commands.backoff_cap_ms"];
        assert_eq!((own.value.as_deref(), own.unit, own.meaning.is_empty()), (Some("9000"), Some("milliseconds"), false));
    }

    #[test]
    fn secrets_are_set_or_not_and_nothing_more() {
        let secret = "postgres://u:hunter2@db/k";
        let listed = shown(
            "[auth]\nadmin_password = \"hunter2 and more\"\n",
            &[
                ("KEYSTONE_DATABASE_URL", secret),
                ("KEYSTONE_DATABASE_PASSWORD", "hunter2"),
                ("KEYSTONE_JWT_SECRET", "hunter2"),
                ("KEYSTONE_DASHBOARD_DISPLAY_TOKEN", "hunter2"),
                ("KEYSTONE_S3_SECRET_KEY", "hunter2"),
                ("KEYSTONE_CLOUD_S3_SECRET_KEY", "hunter2"),
                ("KEYSTONE_CLOUD_RECEIVER_TOKEN", "hunter2"),
            ],
            &[],
        );
        assert!(!format!("{listed:?}").contains("hunter2"));
        for key in SECRETS {
            assert_eq!(listed[key].value.as_deref(), Some("set"), "{key}");
        }
        // Whatever the settings keep as a secret is one here.
        let silent = |key: &str| ["url", "password", "secret", "secret_key", "token"].iter().any(|word| key.ends_with(word));
        let named: BTreeSet<&str> = listed.keys().map(String::as_str).filter(|key| silent(key)).collect();
        let open = [
            "devices.recorder_public_url",
            "devices.transfer_public_url",
            "http.callback_public_base_url",
            "http.internal_url",
            "http.lichtblick_url",
            "sync.receiver.url",
        ];
        assert_eq!(named, SECRETS.into_iter().chain(open).collect());
    }
}
