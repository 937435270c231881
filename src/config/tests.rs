use std::time::Duration;

use super::environment::{Effect, VARIABLES, dot_env};
use super::*;

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn with_environment(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_parts(None, &environment(pairs))
}

fn with_file(text: &str) -> Result<Config, ConfigError> {
    Config::from_parts(Some(("site.toml", text)), &BTreeMap::new())
}

#[test]
fn the_defaults_are_complete_and_embedded() {
    let config = Config::defaults();
    assert!(config.database.is_embedded() && config.s3.is_embedded());
    assert_eq!(config.s3.bucket, "edge-factory-default");
    assert_eq!(config.http.bind, "0.0.0.0:8080".parse().unwrap());
    assert_eq!(config.auth.admin_username, "admin");
    assert_eq!(config.notices, Vec::<String>::new());
}

#[test]
fn a_password_is_for_an_url_without_one() {
    let with = |url: &str| {
        with_environment(&[
            ("KEYSTONE_DATABASE_URL", url),
            ("KEYSTONE_DATABASE_PASSWORD", "p@ss"),
            ("KEYSTONE_JWT_SECRET", "long enough to be one"),
        ])
    };
    assert!(with("postgres://u@db/k").is_ok());
    for url in ["postgres://u:other@db/k", ""] {
        assert!(with(url).unwrap_err().to_string().contains("`database.password`"), "{url}");
    }
}

#[test]
fn a_subscriber_inherits_what_its_table_leaves_out() {
    let config = with_file("[outbox.defaults]\nlease_ms = 5000\n").unwrap();
    let commands = config.outbox.delivery("device_commands");
    assert_eq!(commands.lease, Duration::from_secs(5));
    assert_eq!(commands.ordering, Ordering::PerStream);
    let verification = config.outbox.delivery("upload_verification");
    assert_eq!(verification.attempts_max(), None);
    assert_eq!(verification.deadline(), Some(Duration::from_secs(86400)));
}

#[test]
fn what_a_file_says_of_all_subscribers_holds_for_those_that_it_does_not_name() {
    let text = "[outbox.defaults]\nlease_ms = 3000\n[outbox.subscribers.device_commands]\nbackoff_cap_ms = 9000\n";
    let outbox = with_file(text).unwrap().outbox;
    let leases = ["device_commands", "upload_verification", "webhooks"].map(|name| outbox.delivery(name).lease);
    assert_eq!(leases, [Duration::from_secs(3); 3]);
    assert_eq!(outbox.delivery("device_commands").backoff_cap, Duration::from_secs(9));
    let error = with_file("[outbox.subscribers.device_commands]\nleas_ms = 1\n").unwrap_err().to_string();
    assert!(error.ends_with("did you mean `outbox.subscribers.device_commands.lease_ms`?"), "{error}");
}

#[test]
fn a_file_may_set_any_delivery_key_of_a_known_subscriber_only() {
    let config = with_file("[outbox.subscribers.device_commands]\nbackoff_cap_ms = 9000\n").unwrap();
    let cap = config.outbox.delivery("device_commands").backoff_cap;
    assert_eq!(cap, Duration::from_secs(9));

    let error = with_file("[outbox.subscribers.device_comands]\nlease_ms = 1\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "site.toml: there is no setting `outbox.subscribers.device_comands`; did you mean `outbox.subscribers.device_commands`?"
    );
}

#[test]
fn what_is_kept_for_ever_is_kept_for_no_hours() {
    let config = with_file("[outbox]\nresolved_letters_kept_hours = 0\n[bulk_runs]\nitems_kept_hours = 0\n").unwrap();
    assert_eq!((config.outbox.resolved_letters_kept(), config.bulk_runs.items_kept()), (None, None));
    assert_eq!(Config::defaults().bulk_runs.items_kept(), Some(Duration::from_secs(30 * 24 * 3600)));
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_the_nearest_one() {
    let error = with_file("[http]\nbnid = \":80\"\n").unwrap_err();
    assert_eq!(error.to_string(), "site.toml: there is no setting `http.bnid`; did you mean `http.bind`?");
    let error = with_file("[http]\nread_timeout_s = \"30\"\n").unwrap_err();
    assert_eq!(error.to_string(), "site.toml: `http.read_timeout_s` must be an integer, not a string");
}

#[test]
fn the_environment_wins_over_the_file_and_empty_means_unset() {
    let config = Config::from_parts(
        Some(("site.toml", "[http]\nbind = \":1000\"\nread_timeout_s = 5\n")),
        &environment(&[("KEYSTONE_BIND_ADDR", ":2000"), ("KEYSTONE_READ_TIMEOUT", "")]),
    )
    .unwrap();
    assert_eq!(config.http.bind, "0.0.0.0:2000".parse().unwrap());
    assert_eq!(config.http.read_timeout, Duration::from_secs(5));
}

#[test]
fn an_unknown_variable_stops_the_start_and_is_named() {
    let error = with_environment(&[("KEYSTONE_DATABSE_URL", "x")]).unwrap_err();
    assert_eq!(error.to_string(), "there is no variable KEYSTONE_DATABSE_URL; did you mean `KEYSTONE_DATABASE_URL`?");
}

#[test]
fn an_unparsable_variable_is_named_with_the_form_it_needs() {
    for (name, value, message) in [
        ("KEYSTONE_READ_TIMEOUT", "soon", "KEYSTONE_READ_TIMEOUT must be a whole number"),
        ("KEYSTONE_AXON_RECORDER_WS_PORT", "70000", "KEYSTONE_AXON_RECORDER_WS_PORT must be a port, 0 to 65535"),
        ("KEYSTONE_AXON_RECORDER_AUTH_ENABLED", "maybe", "KEYSTONE_AXON_RECORDER_AUTH_ENABLED must be true or false"),
        (
            "KEYSTONE_CALLBACK_PUBLIC_BASE_URL",
            "http://edge/path",
            "KEYSTONE_CALLBACK_PUBLIC_BASE_URL must be http:// or https:// and a host, without a path",
        ),
        ("KEYSTONE_MODE", "cloud", "KEYSTONE_MODE must be `edge`"),
    ] {
        let error = with_environment(&[(name, value)]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn the_predecessors_names_for_the_object_store_work() {
    let config = with_environment(&[
        ("KEYSTONE_FACTORY_ID", "munich"),
        ("KEYSTONE_MINIO_ENDPOINT", "minio:9000"),
        ("KEYSTONE_MINIO_USE_SSL", "true"),
        ("KEYSTONE_MINIO_ACCESS_KEY", "key"),
        ("KEYSTONE_MINIO_SECRET_KEY", "secret"),
    ])
    .unwrap();
    assert_eq!(config.s3.endpoint.as_deref(), Some("https://minio:9000"));
    assert_eq!(config.s3.bucket, "edge-munich");
}

#[test]
fn a_port_variable_keeps_the_host() {
    let config = with_environment(&[
        ("KEYSTONE_AXON_RECORDER_WS_PORT", "18091"),
        ("KEYSTONE_TRANSFER_BIND", ":9999"),
        ("KEYSTONE_AXON_TRANSFER_WS_PORT", "18090"),
    ])
    .unwrap();
    let devices = &config.devices;
    assert_eq!(devices.recorder_bind, "127.0.0.1:18091".parse().unwrap());
    assert_eq!(devices.transfer_bind, "0.0.0.0:18090".parse().unwrap());
    assert!(!devices.token_required_on(devices.recorder_bind));
    assert!(devices.token_required_on(devices.transfer_bind));
}

#[test]
fn a_variable_without_meaning_is_noticed_and_does_not_stop_the_start() {
    let config = with_environment(&[("KEYSTONE_MYSQL_HOST", "db")]).unwrap();
    assert_eq!(config.notices, ["KEYSTONE_MYSQL_HOST is ignored: set KEYSTONE_DATABASE_URL"]);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let error =
        with_file("[database]\nurl = \"postgres://u@h/d\"\n[s3]\nendpoint = \"http://s3:9000\"\n[outbox.defaults]\nattempts_max = 0\n")
            .unwrap_err()
            .to_string();
    for part in ["KEYSTONE_JWT_SECRET", "s3.secret_key", "a delivery has to end"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn secrets_do_not_show() {
    let config = with_environment(&[
        ("KEYSTONE_DATABASE_URL", "postgres://u:hunter2@db/k"),
        ("KEYSTONE_JWT_SECRET", "hunter2hunter2hunter2hunter2hunter2"),
        ("KEYSTONE_ADMIN_PASSWORD", "hunter2 and more"),
        ("KEYSTONE_S3_ACCESS_KEY", "key"),
        ("KEYSTONE_S3_SECRET_KEY", "hunter2 and more"),
    ])
    .unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("***"));
}

#[test]
fn a_secret_that_anybody_guesses_is_refused_with_the_way_to_make_one() {
    let own_s3 = [("KEYSTONE_S3_ENDPOINT", "http://s3:9000"), ("KEYSTONE_S3_ACCESS_KEY", "k"), ("KEYSTONE_S3_SECRET_KEY", "x")];
    let embedded_s3 = [("KEYSTONE_S3_ACCESS_KEY", "k"), ("KEYSTONE_S3_SECRET_KEY", "x")];
    for (given, key) in [
        (vec![("KEYSTONE_JWT_SECRET", "x")], "auth.jwt_secret"),
        (vec![("KEYSTONE_JWT_SECRET", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")], "auth.jwt_secret"),
        (vec![("KEYSTONE_ADMIN_PASSWORD", "x")], "auth.admin_password"),
        (vec![("KEYSTONE_ADMIN_PASSWORD", "aaaaaaaa")], "auth.admin_password"),
        (vec![("KEYSTONE_ADMIN_PASSWORD", &*"long".repeat(1000))], "auth.admin_password"),
        (embedded_s3.to_vec(), "s3.secret_key"),
    ] {
        let error = with_environment(&given).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("`openssl rand -hex 32` makes a good one"), "{given:?}: {error}");
        assert!(!error.contains("aaaa"), "{error}");
    }
    with_environment(&own_s3).unwrap();
    let made = with_environment(&[("KEYSTONE_JWT_SECRET", "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0")]);
    assert_eq!(made.unwrap().notices, Vec::<String>::new());
}

#[test]
fn proxies_and_origins_are_lists_of_these() {
    let given = [("KEYSTONE_TRUSTED_PROXIES", "10.0.0.7, fd00::/8"), ("KEYSTONE_ALLOWED_ORIGINS", "https://ui.factory")];
    let http = with_environment(&given).unwrap().http;
    assert!(http.trusted_proxies.trusts("10.0.0.7".parse().unwrap()) && !http.trusted_proxies.trusts("10.0.0.8".parse().unwrap()));
    let error = with_environment(&[("KEYSTONE_TRUSTED_PROXIES", "nginx")]).unwrap_err().to_string();
    assert_eq!(error, "KEYSTONE_TRUSTED_PROXIES must be addresses or networks like 10.0.0.0/24, separated by commas");
    assert!(with_file("[http]\nallowed_origins = \"ui.factory\"\n").is_err());
}

#[test]
fn callback_links_name_an_address_that_can_be_reached() {
    let http = Config::defaults().http;
    let url = http.callback_base_url("0.0.0.0:4321".parse().unwrap());
    assert_eq!(url, "http://127.0.0.1:4321");
}

#[test]
fn a_dot_env_file_may_quote_comment_and_export() {
    let read = dot_env("# no\nexport KEYSTONE_LOG='debug'\nOTHER=1\nKEYSTONE_DATA_DIR = /data\n");
    assert_eq!(read, environment(&[("KEYSTONE_LOG", "debug"), ("KEYSTONE_DATA_DIR", "/data")]));
}

#[test]
fn every_variable_that_sets_something_is_documented_beside_its_key() {
    for (name, effect) in VARIABLES {
        if !matches!(effect, Effect::Ignored(_) | Effect::Elsewhere | Effect::Mode) {
            assert!(DEFAULTS.contains(name), "{name} is not in default.toml");
        }
    }
}

#[test]
fn the_name_of_a_log_is_a_line_and_a_path() {
    assert_eq!(Config::defaults().log.origin, None);
    for (origin, fine) in [
        ("edge.example:8080/log", true),
        ("keystone-edge/1", true),
        ("/a", false),
        ("a/", false),
        ("a//b", false),
        ("a/../b", false),
        ("a b", false),
        ("a+b", false),
        ("é", false),
        (&"a".repeat(201), false),
    ] {
        let config = with_environment(&[("KEYSTONE_LOG_ORIGIN", origin)]);
        assert_eq!(config.map(|config| config.log.origin).ok(), fine.then(|| Some(origin.to_owned())), "{origin}");
    }
}
