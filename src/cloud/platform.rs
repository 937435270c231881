//! The configuration of the data platform: where its services are, and which devices it knows, with the keys of these.
//!
//! A file of another program, of version 3. It is read for each upload and each question about it, so what is changed in it needs no restart. One
//! entry that is wrong makes the whole file wrong: which of two devices of one name is meant, nobody could say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::config::Secret;

const VERSION: u32 = 3;
/// Some ten thousand devices.
const FILE_BYTES_MAX: u64 = 8 << 20;
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of a device's id: as many as a robot keeps of it.
pub const DEVICE_ID_CHARS_MAX: usize = 100;

/// Why there is no configuration. No text of the file is told: it holds keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    #[error("there is no configuration of the data platform where `sync.gateway.config` says")]
    Missing,
    #[error("the configuration of the data platform cannot be read: {0}")]
    Unreadable(String),
    #[error("the configuration of the data platform is wrong: {0}")]
    Wrong(String),
}

/// A service of the platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceAddress {
    /// With a scheme and a port: `https://host:443`.
    pub url: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Platform {
    pub auth: ServiceAddress,
    pub gateway: ServiceAddress,
    devices: BTreeMap<String, Device>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    pub api_key: Secret,
    pub tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    version: Option<u32>,
    endpoints: Endpoints,
    #[serde(default)]
    devices: Vec<Entry>,
}

#[derive(Deserialize)]
struct Endpoints {
    auth: String,
    gateway: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    device_id: String,
    api_key: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

impl Platform {
    /// Reads the file. `~` at its beginning is the home of who runs this.
    pub async fn read(path: PathBuf) -> Result<Self, PlatformError> {
        let read = tokio::task::spawn_blocking(move || Self::read_now(&path));
        // A file system of another machine may give no answer at all.
        match tokio::time::timeout(READ_TIMEOUT, read).await {
            Ok(read) => read.unwrap_or_else(|error| Err(PlatformError::Unreadable(error.to_string()))),
            Err(_) => Err(PlatformError::Unreadable("no answer in time".to_owned())),
        }
    }

    fn read_now(path: &Path) -> Result<Self, PlatformError> {
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => PlatformError::Missing,
            // Without the path: people who may not see this machine see this.
            kind => PlatformError::Unreadable(kind.to_string()),
        };
        let path = expanded(path);
        // Opening a pipe waits until one writes to it.
        if !std::fs::metadata(&path).map_err(unreadable)?.is_file() {
            return Err(PlatformError::Unreadable("it is no file".to_owned()));
        }
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(PlatformError::Wrong(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, PlatformError> {
        let wrong = |what: String| PlatformError::Wrong(what);
        // The message of the parser may hold a value; where it is, is enough.
        let file: File = serde_json::from_str(text).map_err(|error| wrong(format!("line {}, column {}", error.line(), error.column())))?;
        if file.version.is_some_and(|version| version != VERSION) {
            return Err(wrong(format!("its version has to be {VERSION}")));
        }
        let service = |name: &str, text: &str| {
            ServiceAddress::parse(text).ok_or_else(|| {
                wrong(format!("`endpoints.{name}` has to be `host:port`, or `http://` or `https://` with a host and nothing behind it"))
            })
        };
        let (auth, gateway) = (service("auth", &file.endpoints.auth)?, service("gateway", &file.endpoints.gateway)?);
        let (mut seen, mut devices) = (BTreeSet::new(), BTreeMap::new());
        for (number, entry) in file.devices.into_iter().enumerate() {
            let id = entry.device_id.trim();
            if id.is_empty() || id.chars().count() > DEVICE_ID_CHARS_MAX || id.chars().any(char::is_control) {
                return Err(wrong(format!("`devices[{number}].deviceId` has to have 1 to {DEVICE_ID_CHARS_MAX} characters")));
            }
            if !seen.insert(id.to_owned()) {
                return Err(wrong(format!("`devices[{number}].deviceId` is there twice")));
            }
            let tags = entry.tags.unwrap_or_default();
            let is_ready = !tags.is_empty() && !tags.contains_key("");
            if let Some(key) = entry.api_key.as_deref().map(str::trim).filter(|key| is_ready && !key.is_empty()) {
                devices.insert(id.to_owned(), Device { api_key: Secret::new(key), tags });
            }
        }
        Ok(Self { auth, gateway, devices })
    }

    /// Those that something can be uploaded for: with a key and tags. Ascending.
    pub fn ready(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// One that something can be uploaded for.
    pub fn device(&self, id: &str) -> Option<&Device> {
        self.devices.get(id)
    }
}

impl ServiceAddress {
    fn parse(text: &str) -> Option<Self> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        // What stands behind the host is refused, also a lone slash.
        if text.is_empty() || url.chars().filter(|c| *c == '/').count() != 2 || url.contains(['?', '#', '@', ' ', '\\']) {
            return None;
        }
        let parsed = Url::parse(&url).ok().filter(|parsed| ["http", "https"].contains(&parsed.scheme()))?;
        let has_port = parsed.port().is_some() || text.contains("://") || text.rsplit_once(':').is_some_and(|(_, port)| port == "80");
        let (host, port) = (parsed.host_str()?, parsed.port_or_known_default()?);
        has_port.then(|| Self { url: format!("{}://{host}:{port}", parsed.scheme()) })
    }

    pub fn is_encrypted(&self) -> bool {
        self.url.starts_with("https://")
    }
}

fn expanded(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn file(devices: Value) -> String {
        json!({ "version": 3, "endpoints": { "auth": "https://auth.example", "gateway": "gateway:50051" }, "devices": devices, "x": 1 })
            .to_string()
    }

    #[test]
    fn devices_with_a_key_and_tags_are_ready() {
        let text = file(json!([
            { "deviceId": " robot-7 ", "apiKey": " a2V5 ", "tags": { "site": "上海" }, "more": true },
            { "deviceId": "Robot-7", "apiKey": "b", "tags": { "site": "x" } },
            { "deviceId": "no-key", "apiKey": " ", "tags": { "site": "x" } },
            { "deviceId": "no-tags", "apiKey": "c", "tags": {} },
            { "deviceId": "empty-tag", "apiKey": "c", "tags": { "": "x" } },
            { "deviceId": "bare" },
        ]));
        let platform = Platform::parse(&text).unwrap();
        assert_eq!(platform.ready().collect::<Vec<_>>(), ["Robot-7", "robot-7"]);
        assert_eq!(platform.device("robot-7").unwrap().api_key.expose(), "a2V5");
        assert_eq!((&*platform.auth.url, &*platform.gateway.url), ("https://auth.example:443", "http://gateway:50051"));
        assert!(!format!("{platform:?}").contains("a2V5"));
    }

    #[test]
    fn one_wrong_entry_makes_the_file_wrong_and_no_value_is_told() {
        for (devices, told) in [
            (json!([{ "deviceId": "a" }, { "deviceId": " a" }]), "`devices[1].deviceId` is there twice"),
            (json!([{ "deviceId": "  ", "apiKey": "hush" }]), "`devices[0].deviceId`"),
            (json!([{ "deviceId": "a", "apiKey": 12345 }]), "line 1"),
            (json!([{ "apiKey": "hush" }]), "line 1"),
        ] {
            let error = Platform::parse(&file(devices)).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("hush") && !error.contains("12345"), "{error}");
        }
        assert!(Platform::parse(&file(json!([])).replace("\"version\":3", "\"version\":2")).is_err());
        assert!(Platform::parse(&file(json!([])).replace("\"version\":3,", "")).is_ok());
        assert!(Platform::parse("{").is_err() && Platform::parse("").is_err());
    }

    #[test]
    fn an_endpoint_is_a_host_and_nothing_else() {
        let url = |text: &str| ServiceAddress::parse(text).map(|service| service.url);
        for (text, read) in [
            ("https://a.example", "https://a.example:443"),
            ("https://a.example:8443", "https://a.example:8443"),
            ("http://a", "http://a:80"),
            ("a.example:50051", "http://a.example:50051"),
            ("a:80", "http://a:80"),
            ("[::1]:7000", "http://[::1]:7000"),
        ] {
            assert_eq!(url(text).as_deref(), Some(read), "{text}");
        }
        for text in ["", "a", "https://a/", "https://a/b", "https://u:p@a", "https://a?x=1", "https://a#x", "ftp://a", "a:1/x", "a:99999"] {
            assert_eq!(url(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_told_apart_from_one_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Platform::read_now(&folder.path().join("none.json")), Err(PlatformError::Missing));
        assert!(matches!(Platform::read_now(folder.path()), Err(PlatformError::Unreadable(_))));
        let path = folder.path().join("config.json");
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(matches!(Platform::read_now(&path), Err(PlatformError::Unreadable(_))));
        std::fs::write(&path, " ".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1)).unwrap();
        assert!(matches!(Platform::read_now(&path), Err(PlatformError::Wrong(_))));
    }
}
