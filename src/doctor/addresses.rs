//! What is to be said about addresses, logins and settings: who reaches what, and with which secret.

use std::net::{IpAddr, SocketAddr};

use super::report::Finding;
use crate::config::{Auth, AuthMode, Config, DeviceAuth, Devices, Http};

/// Below this a secret that signs logins can be guessed from a login.
const JWT_SECRET_BYTES_GOOD: usize = 32;
const PASSWORD_CHARS_GOOD: usize = 12;

/// Settings that are judged here, so that what `config` remarks on them is not said twice.
const JUDGED_HERE: &[&str] = &["`auth.jwt_secret`", "`auth.mode`", "`devices.auth`"];

const GUIDE: &str = "docs/operations.md, How robots reach the store";

/// Who listens where we would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// Chosen at each start.
    Any,
    Quiet,
    Listens,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    Any,
    Quiet,
    Keystone {
        version: String,
        /// What is not well, in its own words; empty: ready.
        unwell: Vec<String>,
    },
    /// Something takes the connection and does not answer as our server does.
    Other(String),
}

/// What an address that others are given led to, seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Led {
    NotTried,
    ToKeystone,
    ToSomething,
    Nowhere(String),
}

#[derive(Clone, Debug)]
pub struct Listening {
    pub rest: Rest,
    pub recorder: Port,
    pub transfer: Port,
    pub callback: Led,
    pub public_store: Led,
    /// Whether a password was made for the administrator and lies in the data folder.
    pub password_remembered: bool,
}

pub fn judge(config: &Config, seen: &Listening) -> Vec<Finding> {
    let mut findings = vec![rest(&config.http, seen)];
    findings.extend(sockets(config, seen));
    findings.push(callbacks(config, &seen.callback));
    findings.extend(public_sockets(&config.devices));
    findings.push(store_for_robots(config));
    findings.extend(links(config, &seen.public_store));
    findings.push(device_logins(config));
    findings.push(mode(&config.auth));
    findings.extend(signing(&config.auth));
    findings.push(password(config, seen.password_remembered));
    findings.extend(
        config
            .notices
            .iter()
            .filter(|notice| !JUDGED_HERE.iter().any(|key| notice.contains(key)))
            .map(|notice| Finding::warning("settings.notice", notice, "correct the setting; config/default.toml explains every one")),
    );
    findings
}

/// Where robots come from, as far as the settings tell.
fn robots_elsewhere(devices: &Devices) -> bool {
    [devices.recorder_bind, devices.transfer_bind].iter().any(|bind| !bind.ip().is_loopback())
}

/// The host of `scheme://host:port`.
fn host_of(url: &str) -> &str {
    let (_, authority) = url.split_once("://").unwrap_or(("", url));
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split([':', '/']).next().unwrap_or(authority),
    }
}

pub fn is_loopback(url: &str) -> bool {
    let host = host_of(url);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback() || ip.is_unspecified())
}

fn rest(http: &Http, seen: &Listening) -> Finding {
    let (id, bind) = ("address.http", http.bind);
    match &seen.rest {
        Rest::Any => Finding::warning(id, "the port is chosen at each start", "give KEYSTONE_BIND_ADDR a fixed port"),
        Rest::Quiet => Finding::ok(id, format!("nothing listens on {bind}: no server runs here")),
        Rest::Keystone { version, .. } if version != env!("CARGO_PKG_VERSION") => Finding::warning(
            id,
            format!("the server on {bind} is version {version}, and this program {}", env!("CARGO_PKG_VERSION")),
            "look with the program that serves, or finish the upgrade",
        ),
        Rest::Keystone { unwell, .. } if !unwell.is_empty() => Finding::problem(
            id,
            format!("the server on {bind} is not ready: {}", unwell.join(", ")),
            "what stands above says why; the server's log has the reasons (`Not well`)",
        ),
        Rest::Keystone { version, .. } => Finding::ok(id, format!("the server on {bind} is ready, version {version}")),
        Rest::Other(what) => Finding::problem(
            id,
            format!("what listens on {bind} does not answer as Keystone Edge does: {what}"),
            "stop it, or set KEYSTONE_BIND_ADDR to a free address; if it is our server, look at its log",
        ),
    }
}

fn sockets(config: &Config, seen: &Listening) -> [Finding; 2] {
    let serves = match seen.rest {
        Rest::Keystone { .. } => Some(true),
        Rest::Quiet => Some(false),
        Rest::Any | Rest::Other(_) => None,
    };
    let one = |id, what: &str, bind: SocketAddr, port: &Port, setting: &str| match (port, serves) {
        (Port::Any, _) => {
            Finding::warning(id, format!("the port of {what} is chosen at each start"), format!("give {setting} a fixed port"))
        }
        (Port::Quiet, Some(true)) => Finding::problem(
            id,
            format!("the server does not listen for {what} on {bind}"),
            "look at the server's log, and whether it was started with other settings",
        ),
        (Port::Listens, Some(false)) => Finding::problem(
            id,
            format!("something else listens on {bind}, where {what} connect"),
            format!("stop it, or set {setting} to a free address"),
        ),
        (Port::Listens, _) => Finding::ok(id, format!("{what} connect to {bind}")),
        (Port::Quiet, _) => Finding::ok(id, format!("{bind} is free for {what}")),
    };
    [
        one("address.recorder", "recorders", config.devices.recorder_bind, &seen.recorder, "KEYSTONE_RECORDER_BIND"),
        one("address.transfer", "uploaders", config.devices.transfer_bind, &seen.transfer, "KEYSTONE_TRANSFER_BIND"),
    ]
}

fn callbacks(config: &Config, led: &Led) -> Finding {
    let id = "address.callback";
    let elsewhere = robots_elsewhere(&config.devices);
    let todo = "set KEYSTONE_CALLBACK_PUBLIC_BASE_URL to http://<an address of this host that robots reach>:<port>";
    match &config.http.callback_public_base_url {
        None if config.http.bind.ip().is_unspecified() && elsewhere => {
            Finding::problem(id, "recorders on other machines are told to call back at 127.0.0.1, which is themselves", todo)
        }
        None if config.http.bind.ip().is_loopback() && elsewhere => Finding::problem(
            id,
            format!("recorders connect from other machines, and REST listens on {} only", config.http.bind),
            "set KEYSTONE_BIND_ADDR to an address of the factory network, and KEYSTONE_CALLBACK_PUBLIC_BASE_URL to it",
        ),
        None if config.http.bind.ip().is_unspecified() => Finding::ok(id, "recorders on this machine call back at 127.0.0.1"),
        None => Finding::ok(id, format!("recorders call back at http://{}", config.http.bind)),
        Some(url) if is_loopback(url) && elsewhere => Finding::warning(
            id,
            format!("recorders that connect from other machines are told to call back at {url}, which is themselves"),
            todo,
        ),
        Some(url) => match led {
            Led::Nowhere(why) => Finding::warning(
                id,
                format!("{url}, where recorders call back, cannot be reached from here: {why}"),
                "try it from a robot (curl <url>/api/v1/health); correct KEYSTONE_CALLBACK_PUBLIC_BASE_URL or the proxy",
            ),
            Led::ToSomething => Finding::problem(
                id,
                format!("{url}, where recorders call back, does not lead to Keystone Edge"),
                "correct KEYSTONE_CALLBACK_PUBLIC_BASE_URL or the proxy",
            ),
            Led::NotTried | Led::ToKeystone => Finding::ok(id, format!("recorders call back at {url}")),
        },
    }
}

fn public_sockets(devices: &Devices) -> Vec<Finding> {
    [
        ("address.recorder_public", &devices.recorder_public_url, devices.recorder_bind, "KEYSTONE_RECORDER_PUBLIC_URL"),
        ("address.transfer_public", &devices.transfer_public_url, devices.transfer_bind, "KEYSTONE_TRANSFER_PUBLIC_URL"),
    ]
    .into_iter()
    .filter_map(|(id, url, bind, setting)| {
        let url = url.as_ref()?;
        if is_loopback(url) && !bind.ip().is_loopback() {
            let seen = format!("robots are told at their registration to connect to {url}, which is themselves");
            return Some(Finding::warning(id, seen, format!("set {setting} to an address that robots reach, or leave it out")));
        }
        Some(Finding::ok(id, format!("robots are told to connect to {url}")))
    })
    .collect()
}

/// Whether a robot that may connect may also upload.
fn store_for_robots(config: &Config) -> Finding {
    let id = "address.store";
    let elsewhere = robots_elsewhere(&config.devices);
    match (&config.s3.endpoint, &config.s3.public_endpoint) {
        (None, _) if config.embedded.s3_bind.ip().is_loopback() && elsewhere => Finding::problem(
            id,
            format!(
                "robots connect from other machines, and the object store inside the server listens on {} only",
                config.embedded.s3_bind
            ),
            format!("set KEYSTONE_EMBEDDED_S3_BIND to an address of the factory network ({GUIDE})"),
        ),
        (None, _) if config.embedded.s3_bind.ip().is_loopback() => {
            Finding::ok(id, format!("robots on this machine upload to {}", config.embedded.s3_bind))
        }
        (None, _) => Finding::ok(id, format!("robots upload to port {} of this host", config.embedded.s3_bind.port())),
        (Some(endpoint), None) if is_loopback(endpoint) && elsewhere => Finding::problem(
            id,
            format!("robots connect from other machines, and the object store is known as {endpoint} only"),
            format!("let the store listen on the factory network, and set KEYSTONE_S3_PUBLIC_ENDPOINT ({GUIDE})"),
        ),
        (Some(endpoint), public) => Finding::ok(id, format!("robots upload to {}", public.as_ref().unwrap_or(endpoint))),
    }
}

/// Links that browsers follow.
fn links(config: &Config, led: &Led) -> Vec<Finding> {
    let id = "address.store_public";
    let todo = "set KEYSTONE_S3_PUBLIC_ENDPOINT to an address of the store that browsers and robots reach";
    match &config.s3.public_endpoint {
        None if config.s3.is_embedded() && !config.embedded.s3_bind.ip().is_loopback() => {
            vec![Finding::warning(id, "signed links name an address that only this host can follow", todo)]
        }
        Some(url) if is_loopback(url) && robots_elsewhere(&config.devices) => {
            vec![Finding::warning(id, format!("signed links name {url}, which is the machine of whatever follows them"), todo)]
        }
        Some(url) => vec![match led {
            Led::Nowhere(why) => Finding::warning(
                id,
                format!("{url}, which signed links name, cannot be reached from here: {why}"),
                "try it from a browser and a robot; correct KEYSTONE_S3_PUBLIC_ENDPOINT or the proxy",
            ),
            _ => Finding::ok(id, format!("signed links name {url}")),
        }],
        None => vec![],
    }
}

fn device_logins(config: &Config) -> Finding {
    let id = "settings.device_auth";
    if config.devices.auth == DeviceAuth::Optional && robots_elsewhere(&config.devices) {
        return Finding::warning(
            id,
            "anything on the network may connect as any robot (`devices.auth` is `optional`, and the sockets listen beyond loopback)",
            "set KEYSTONE_DEVICE_AUTH=required once the robots have their tokens",
        );
    }
    Finding::ok(id, if robots_elsewhere(&config.devices) { "robots on other machines show a token" } else { "robots on this machine only" })
}

fn mode(auth: &Auth) -> Finding {
    let id = "settings.auth_mode";
    match auth.mode {
        AuthMode::Strict => Finding::ok(id, "every route that changes or shows something asks for a login"),
        AuthMode::Compat => Finding::warning(
            id,
            "routes are open without a login (`auth.mode` is `compat`)",
            "set KEYSTONE_AUTH_MODE=strict when the last old client is gone",
        ),
    }
}

fn signing(auth: &Auth) -> Option<Finding> {
    let id = "settings.jwt_secret";
    let todo = "make a good one (openssl rand -hex 32) and give it to all processes as KEYSTONE_JWT_SECRET; everybody signs in again";
    let bytes = auth.jwt_secret.as_ref()?.expose().len();
    Some(match bytes {
        ..JWT_SECRET_BYTES_GOOD => {
            Finding::warning(id, format!("the secret that signs logins has {bytes} bytes, and can be guessed from a login"), todo)
        }
        _ => Finding::ok(id, "the secret that signs logins is long enough"),
    })
}

fn password(config: &Config, remembered: bool) -> Finding {
    let id = "settings.admin_password";
    match &config.auth.admin_password {
        Some(password) if password.expose().chars().count() < PASSWORD_CHARS_GOOD => Finding::warning(
            id,
            format!("the administrator's password is shorter than {PASSWORD_CHARS_GOOD} characters"),
            "choose a longer KEYSTONE_ADMIN_PASSWORD (openssl rand -hex 12)",
        ),
        Some(_) => Finding::ok(id, "the administrator's password comes from the settings"),
        None if remembered => Finding::ok(
            id,
            "the administrator's password was made at the first start and lies in secrets/admin_password of the data folder",
        ),
        None => Finding::ok(id, "the administrator's password is the one that was set last, or made, and shown, at the first start"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Level::{self, Ok, Problem, Warning};

    fn listening() -> Listening {
        Listening {
            rest: Rest::Keystone { version: env!("CARGO_PKG_VERSION").into(), unwell: vec![] },
            recorder: Port::Listens,
            transfer: Port::Listens,
            callback: Led::ToKeystone,
            public_store: Led::ToSomething,
            password_remembered: true,
        }
    }

    fn config(settings: &[(&str, &str)]) -> Config {
        let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Config::from_parts(None, &settings).expect("settings")
    }

    /// What is not ok, by id and level.
    fn odd(settings: &[(&str, &str)], seen: &Listening) -> Vec<(&'static str, Level)> {
        let odd = judge(&config(settings), seen).into_iter().filter(|finding| finding.level != Ok);
        odd.map(|finding| (finding.id, finding.level)).collect()
    }

    const ROBOTS: [(&str, &str); 2] = [("KEYSTONE_RECORDER_BIND", ":8091"), ("KEYSTONE_TRANSFER_BIND", ":8090")];
    const EXTERNAL: [(&str, &str); 5] = [
        ("KEYSTONE_DATABASE_URL", "postgres://u:p@db/k"),
        ("KEYSTONE_JWT_SECRET", "a secret that is long enough for this"),
        ("KEYSTONE_S3_ENDPOINT", "http://store:9000"),
        ("KEYSTONE_S3_ACCESS_KEY", "key"),
        ("KEYSTONE_S3_SECRET_KEY", "a secret key"),
    ];

    #[test]
    fn settings_that_leave_robots_outside_are_named() {
        let callback = ("KEYSTONE_CALLBACK_PUBLIC_BASE_URL", "http://10.0.0.5:8080");
        let store = ("KEYSTONE_EMBEDDED_S3_BIND", "10.0.0.5:9000");
        let links = ("KEYSTONE_S3_PUBLIC_ENDPOINT", "http://10.0.0.5:9000");
        let password = ("KEYSTONE_ADMIN_PASSWORD", "a long password");
        type Table<'a> = Vec<(Vec<(&'a str, &'a str)>, Vec<(&'a str, Level)>)>;
        let external = |more: &[(&'static str, &'static str)]| [&EXTERNAL[..], &ROBOTS, &[callback], more].concat();
        let table: Table = vec![
            (vec![], vec![]),
            (ROBOTS.to_vec(), vec![("address.callback", Problem), ("address.store", Problem)]),
            ([&ROBOTS[..], &[callback, store, links]].concat(), vec![]),
            ([&ROBOTS[..], &[callback, store]].concat(), vec![("address.store_public", Warning)]),
            ([&ROBOTS[..], &[("KEYSTONE_BIND_ADDR", "127.0.0.1:80"), store, links]].concat(), vec![("address.callback", Problem)]),
            (
                [&ROBOTS[..], &[("KEYSTONE_CALLBACK_PUBLIC_BASE_URL", "http://localhost:8080"), store, links]].concat(),
                vec![("address.callback", Warning)],
            ),
            (
                [&ROBOTS[..], &[callback, store, links, ("KEYSTONE_RECORDER_PUBLIC_URL", "ws://127.0.0.1:8091")]].concat(),
                vec![("address.recorder_public", Warning)],
            ),
            (
                [&ROBOTS[..], &[callback, store, ("KEYSTONE_S3_PUBLIC_ENDPOINT", "http://[::1]:9000")]].concat(),
                vec![("address.store_public", Warning)],
            ),
            (
                [&ROBOTS[..], &[callback, store, links, ("KEYSTONE_DEVICE_AUTH", "optional")]].concat(),
                vec![("settings.device_auth", Warning)],
            ),
            (vec![("KEYSTONE_DEVICE_AUTH", "optional")], vec![]),
            (vec![("KEYSTONE_AUTH_MODE", "compat")], vec![("settings.auth_mode", Warning)]),
            (vec![("KEYSTONE_MYSQL_HOST", "db")], vec![("settings.notice", Warning)]),
            (vec![("KEYSTONE_ADMIN_PASSWORD", "eightway")], vec![("settings.admin_password", Warning)]),
            (external(&[password]), vec![]),
            (external(&[password, ("KEYSTONE_S3_ENDPOINT", "http://127.0.0.1:9000")]), vec![("address.store", Problem)]),
            (external(&[password, ("KEYSTONE_JWT_SECRET", "twenty bytes of text")]), vec![("settings.jwt_secret", Warning)]),
        ];
        for (settings, expected) in table {
            assert_eq!(odd(&settings, &listening()), expected, "{settings:?}");
        }
        let seen = Listening { password_remembered: false, ..listening() };
        assert_eq!(odd(&external(&[]), &seen), []);
    }

    #[test]
    fn who_listens_decides_what_is_said_of_ports() {
        let quiet = Listening { rest: Rest::Quiet, recorder: Port::Quiet, transfer: Port::Quiet, callback: Led::NotTried, ..listening() };
        let unwell = Rest::Keystone { version: env!("CARGO_PKG_VERSION").into(), unwell: vec!["database".into()] };
        for (seen, expected) in [
            (quiet.clone(), vec![]),
            (Listening { recorder: Port::Listens, ..quiet.clone() }, vec![("address.recorder", Problem)]),
            (Listening { rest: Rest::Other("it answers 200".into()), ..quiet }, vec![("address.http", Problem)]),
            (Listening { transfer: Port::Quiet, ..listening() }, vec![("address.transfer", Problem)]),
            (Listening { transfer: Port::Any, ..listening() }, vec![("address.transfer", Warning)]),
            (Listening { rest: unwell, ..listening() }, vec![("address.http", Problem)]),
            (
                Listening { rest: Rest::Keystone { version: "9.9.9".into(), unwell: vec![] }, ..listening() },
                vec![("address.http", Warning)],
            ),
        ] {
            assert_eq!(odd(&[], &seen), expected, "{seen:?}");
        }
    }

    #[test]
    fn addresses_that_lead_nowhere_are_named() {
        let settings =
            [("KEYSTONE_CALLBACK_PUBLIC_BASE_URL", "http://edge.factory"), ("KEYSTONE_S3_PUBLIC_ENDPOINT", "https://store.factory")];
        for (callback, store, expected) in [
            (Led::ToKeystone, Led::ToSomething, vec![]),
            (Led::ToSomething, Led::NotTried, vec![("address.callback", Problem)]),
            (Led::Nowhere("refused".into()), Led::NotTried, vec![("address.callback", Warning)]),
            (Led::ToKeystone, Led::Nowhere("refused".into()), vec![("address.store_public", Warning)]),
        ] {
            assert_eq!(odd(&settings, &Listening { callback, public_store: store, ..listening() }), expected);
        }
    }

    #[test]
    fn loopback_has_several_spellings() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost", true),
            ("ws://[::1]:8091", true),
            ("http://0.0.0.0:9000", true),
            ("https://edge.factory", false),
            ("http://10.0.0.5:8080", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }
}
