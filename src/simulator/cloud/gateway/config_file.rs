//! The file that tells a server of the gateway and its devices: of version 3, with keys, so for its owner only.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::devices::CloudDevice;

fn content(auth: &str, gateway: &str, devices: &[CloudDevice]) -> Value {
    let device = |device: &CloudDevice| json!({ "deviceId": device.id, "apiKey": device.api_key, "tags": device.tags });
    json!({
        "version": 3,
        "endpoints": { "auth": auth, "gateway": gateway },
        "devices": devices.iter().map(device).collect::<Vec<_>>(),
    })
}

/// Whole or not at all: a server may read it at any moment.
pub fn write(path: &Path, auth: &str, gateway: &str, devices: &[CloudDevice]) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&content(auth, gateway, devices))?;
    let mut name = path.file_name().context("--write-config takes the name of a file")?.to_owned();
    name.push(".tmp");
    let before = path.with_file_name(name);
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&before)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&before, path)
    };
    written().with_context(|| format!("cannot write the configuration of the gateway to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_for_its_owner_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, "{}").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let devices = ["robot-7:a2V5,site=上海".parse().unwrap(), "robot-8".parse().unwrap()];
        write(&path, "http://127.0.0.1:1", "http://127.0.0.1:2", &devices).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((&read["version"], &read["endpoints"]["gateway"]), (&json!(3), &json!("http://127.0.0.1:2")));
        assert_eq!(read["devices"][0], json!({ "deviceId": "robot-7", "apiKey": "a2V5", "tags": { "site": "上海" } }));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("nowhere/config.json"), "", "", &devices).is_err());
    }
}
