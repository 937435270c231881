//! What the program tells of itself, without starting anything.

use serde_json::Value;

use crate::harness::server::Server;
use crate::harness::temp_folder;

#[tokio::test]
async fn every_command_helps_with_examples_and_says_how_it_ends() {
    let folder = temp_folder();
    let server = Server::new(folder.path());
    let (code, all) = server.tool(&["--help"]).await;
    assert!(code == 0 && all.contains("KEYSTONE_*") && all.contains("keystone config --long"), "{all}");
    let commands: Vec<&str> = all.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty()).collect();
    let names: Vec<&str> =
        commands.iter().filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 8 && names.contains(&"config"), "{names:?}");
    for name in names.into_iter().filter(|name| !["help", "openapi"].contains(name)) {
        let (code, help) = server.tool(&[name, "--help"]).await;
        assert!(code == 0 && (help.contains("Ends with") || name == "migrate"), "{name}: {help}");
        assert!(
            help.contains("KEYSTONE_") || help.contains("Reads the settings as `serve`") || name == "demo" || name == "config",
            "{name}: {help}"
        );
    }
}

#[tokio::test]
async fn the_settings_are_listed_with_where_they_come_from() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    std::fs::write(folder.path().join(".env"), "KEYSTONE_READ_TIMEOUT=7\n").unwrap();
    server.settings = vec![("KEYSTONE_JWT_SECRET", "not to be seen by anybody".to_owned()), ("KEYSTONE_ADMIN_PASSWORD", String::new())];
    let (code, said) = server.tool(&["config"]).await;
    assert_eq!(code, 0, "{said}");
    let line = |key: &str| {
        let line = said.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap_or_else(|| panic!("no {key}: {said}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("http.bind"), format!("http.bind {} environment KEYSTONE_BIND_ADDR", server.address(0)));
    assert_eq!(line("http.read_timeout_s"), "http.read_timeout_s 7 .env KEYSTONE_READ_TIMEOUT");
    assert_eq!(line("outbox.defaults.lease_ms"), "outbox.defaults.lease_ms 3000 file keystone.toml");
    assert_eq!(line("auth.jwt_secret"), "auth.jwt_secret set environment KEYSTONE_JWT_SECRET");
    assert_eq!(line("auth.admin_password"), "auth.admin_password not set default");
    assert_eq!(line("s3.bucket"), "s3.bucket edge-factory-default default");
    assert!(!said.contains("not to be seen") && !said.contains("test-secret"), "{said}");
    assert!(!folder.path().join("data").exists(), "a list made something");

    std::fs::create_dir_all(folder.path().join("data/secrets")).unwrap();
    std::fs::write(folder.path().join("data/secrets/admin_password"), "not to be seen by anybody").unwrap();
    let (_, said) = server.tool(&["config", "admin_password", "--long"]).await;
    assert!(
        said.contains("set") && said.contains("data folder secrets/admin_password") && said.contains("[KEYSTONE_ADMIN_PASSWORD]"),
        "{said}"
    );
    let (_, json) = server.tool(&["config", "s3", "--json"]).await;
    let listed: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let ttl = listed.as_array().unwrap().iter().find(|one| one["key"] == "s3.presign_ttl_s").expect("a setting");
    assert_eq!((&ttl["value"], &ttl["unit"], &ttl["origin"]["kind"]), (&"900".into(), &"seconds".into(), &"default".into()));

    // Settings that cannot be used are listed all the same.
    server.settings.push(("KEYSTONE_S3_ENDPOINT", "http://store:9000/path".to_owned()));
    let (code, said) = server.tool(&["config"]).await;
    assert!(code == 1 && said.contains("http.bind") && said.contains("`s3.endpoint` must be"), "{said}");
}
