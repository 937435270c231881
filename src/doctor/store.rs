//! What is to be said about the object store, from its answers.
//!
//! The endpoint inside this program keeps episodes from being overwritten and deleted by itself. A store that is not
//! ours has to be told: by versioning, a lock, policies and a rule for abandoned uploads.

use serde_json::Value;

use super::clock::clock;
use super::report::Finding;

const GUIDE: &str = "docs/operations.md, A store of your own";

#[derive(Clone, Debug)]
pub enum Store {
    Embedded(Embedded),
    Foreign(Foreign),
}

/// The endpoint inside the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Embedded {
    /// No server runs.
    Asleep,
    /// It listens on a port that is chosen at each start.
    AnyPort,
    Answers,
    Silent(String),
    SomethingElse(String),
}

#[derive(Clone, Debug)]
pub struct Foreign {
    pub way: Way,
    pub bucket: String,
    pub access: Access,
    /// By how many seconds its clock is ahead of ours, give or take one.
    pub ahead_s: Option<f64>,
    /// None where the bucket could not be reached at all.
    pub protection: Option<Protection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    SameHost,
    Encrypted,
    InTheClear,
}

/// Whether our key opens the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    Works,
    Silent,
    Unreachable(String),
    NoBucket,
    /// The code that the store names.
    Refused(String),
    Odd(String),
}

/// One question about the bucket, answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The body of the answer.
    Is(String),
    /// There is no such configuration.
    Unset,
    Unsupported,
    NotAllowed,
    Failed(String),
}

#[derive(Clone, Debug)]
pub struct Protection {
    pub versioning: Told,
    pub lock: Told,
    pub policy_status: Told,
    pub policy: Told,
    pub lifecycle: Told,
}

/// What a status and a body mean, of any make of store.
pub fn told(status: u16, body: &str) -> Told {
    let code = element(body, "Code").unwrap_or_default();
    match (status, code.as_str()) {
        (200..=299, _) => Told::Is(body.to_owned()),
        (_, "NoSuchLifecycleConfiguration" | "ObjectLockConfigurationNotFoundError" | "NoSuchBucketPolicy") => Told::Unset,
        (405 | 501, _) | (_, "NotImplemented" | "MethodNotAllowed" | "UnsupportedOperation") => Told::Unsupported,
        (401 | 403, _) => Told::NotAllowed,
        (404, "") => Told::Unset,
        _ => Told::Failed(format!("{status} {code}")),
    }
}

/// The text of the first element of this name. Enough for the flat answers that are asked for here.
pub fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().to_owned())
}

pub fn judge(seen: &Store) -> Vec<Finding> {
    match seen {
        Store::Embedded(embedded) => vec![inside(embedded)],
        Store::Foreign(foreign) => outside(foreign),
    }
}

fn inside(seen: &Embedded) -> Finding {
    let id = "store.reach";
    match seen {
        Embedded::Asleep => Finding::ok(id, "the endpoint runs inside the server, and none runs"),
        Embedded::AnyPort => Finding::warning(
            id,
            "the endpoint takes another port at each start, which no robot can know",
            "give KEYSTONE_EMBEDDED_S3_BIND a fixed port",
        ),
        Embedded::Answers => Finding::ok(id, "the endpoint inside the server answers, and asks for a signature"),
        Embedded::Silent(why) => Finding::problem(
            id,
            format!("the endpoint inside the server does not answer: {why}"),
            "look at the server's log, and restart it",
        ),
        Embedded::SomethingElse(what) => Finding::problem(
            id,
            format!("something that is no S3 server answers at the endpoint's address: {what}"),
            "stop it, or set KEYSTONE_EMBEDDED_S3_BIND to a free address",
        ),
    }
}

fn outside(seen: &Foreign) -> Vec<Finding> {
    let mut findings = vec![access(seen)];
    if let Some(ahead_s) = seen.ahead_s {
        findings.push(clock("store.clock", "the object store", ahead_s));
    }
    findings.extend(match seen.way {
        Way::SameHost => None,
        Way::Encrypted => Some(Finding::ok("store.tls", "encrypted")),
        Way::InTheClear => Some(Finding::warning(
            "store.tls",
            "recordings cross the network in the clear",
            "let KEYSTONE_S3_ENDPOINT begin with https://, or keep that network to yourself",
        )),
    });
    if let Some(protection) = &seen.protection {
        findings.extend(protect(protection));
    }
    findings
}

fn access(seen: &Foreign) -> Finding {
    let (id, bucket) = ("store.reach", &seen.bucket);
    match &seen.access {
        Access::Works => Finding::ok(id, format!("the bucket `{bucket}` is there, and our key opens it")),
        Access::Silent => Finding::problem(
            id,
            "something takes the connection and does not answer",
            "look at the store, and at a firewall or balancer on the way; uploads are verified when it answers again",
        ),
        Access::Unreachable(why) => Finding::problem(id, why, "start the store, or correct KEYSTONE_S3_ENDPOINT"),
        Access::NoBucket => Finding::warning(
            id,
            format!("there is no bucket `{bucket}`; the next start makes it, without versioning and lock"),
            format!("make it first, with object lock, or correct KEYSTONE_S3_BUCKET ({GUIDE})"),
        ),
        Access::Refused(code) => {
            let todo = match code.as_str() {
                "InvalidAccessKeyId" => "the store does not know KEYSTONE_S3_ACCESS_KEY",
                "SignatureDoesNotMatch" => "KEYSTONE_S3_SECRET_KEY is not the one of this access key (or a proxy changes the Host header)",
                "RequestTimeTooSkewed" => "let NTP set the clocks of this host and of the store",
                _ => "let the server's key read and list the bucket, see its policy",
            };
            Finding::problem(id, format!("the store refuses our key for `{bucket}`: {code}"), todo)
        }
        Access::Odd(what) => Finding::problem(
            id,
            format!("the store answers oddly: {what}"),
            "look whether KEYSTONE_S3_ENDPOINT and KEYSTONE_S3_REGION name an S3 server",
        ),
    }
}

fn protect(seen: &Protection) -> [Finding; 5] {
    let versions = matches!(&seen.versioning, Told::Is(body) if element(body, "Status").as_deref() == Some("Enabled"));
    let locked = match &seen.lock {
        Told::Is(body) if element(body, "ObjectLockEnabled").as_deref() == Some("Enabled") => Some(element(body, "Mode")),
        _ => None,
    };
    [
        versioning(&seen.versioning, versions),
        lock(&seen.lock, locked),
        public(&seen.policy_status),
        policy(&seen.policy),
        lifecycle(&seen.lifecycle),
    ]
}

/// Why a question has no answer that could be judged.
fn silence(id: &'static str, what: &str, told: &Told, risk: &str) -> Finding {
    match told {
        Told::Unsupported => {
            Finding::warning(id, format!("this store does not know {what}: {risk}"), format!("let the robots' policy refuse it ({GUIDE})"))
        }
        Told::NotAllowed => Finding::warning(
            id,
            format!("our key may not ask for {what}"),
            format!("look yourself, or allow the server's key to read the bucket's configuration ({GUIDE})"),
        ),
        Told::Failed(why) => Finding::warning(id, format!("{what} could not be asked for: {why}"), "ask again; look at the store's log"),
        Told::Is(_) | Told::Unset => Finding::warning(id, format!("{what} is not set: {risk}"), GUIDE),
    }
}

fn versioning(told: &Told, enabled: bool) -> Finding {
    let id = "store.versioning";
    if enabled {
        return Finding::ok(id, "versions are kept: an overwritten or deleted recording can be brought back");
    }
    silence(id, "versioning", told, "a recording that is overwritten or deleted is gone")
}

fn lock(told: &Told, locked: Option<Option<String>>) -> Finding {
    let id = "store.lock";
    match locked {
        Some(Some(mode)) => Finding::ok(id, format!("versions are locked by default ({mode})")),
        Some(None) => Finding::warning(id, "object lock is on and has no default: versions of recordings can be deleted", GUIDE),
        None => silence(id, "object lock", told, "a key that may delete versions can remove recordings for good"),
    }
}

fn public(told: &Told) -> Finding {
    let id = "store.public";
    match told {
        Told::Is(body) if element(body, "IsPublic").is_some_and(|is| is.eq_ignore_ascii_case("true")) => {
            Finding::problem(id, "the bucket's policy lets anybody in", format!("take the grants to everybody out of the policy ({GUIDE})"))
        }
        Told::Is(_) => Finding::ok(id, "the bucket is not public"),
        Told::Unset => Finding::ok(id, "no policy opens the bucket to everybody"),
        other => silence(id, "whether the bucket is public", other, "a policy could let anybody in"),
    }
}

fn policy(told: &Told) -> Finding {
    let id = "store.policy";
    match told {
        Told::Is(body) if denies(body, "s3:DeleteObject") => Finding::ok(id, "the bucket's policy refuses deleting"),
        Told::Is(_) => Finding::warning(id, "the bucket's policy does not refuse deleting", GUIDE),
        other => silence(id, "a bucket policy", other, "what a key may do is decided by its own policy alone"),
    }
}

/// Whether a statement of the policy refuses the action to everybody.
fn denies(policy: &str, action: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return false };
    let list = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        other => vec![other.clone()],
    };
    let everybody = |principal: &Value| *principal == "*" || list(&principal["AWS"]).iter().any(|who| who == "*");
    list(&policy["Statement"]).iter().any(|statement| {
        let named = list(&statement["Action"]).iter().filter_map(Value::as_str).any(|pattern| matches(pattern, action));
        statement["Effect"] == "Deny" && named && everybody(&statement["Principal"])
    })
}

fn matches(pattern: &str, action: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, "")) => action.to_ascii_lowercase().starts_with(&start.to_ascii_lowercase()),
        _ => pattern.eq_ignore_ascii_case(action),
    }
}

fn lifecycle(told: &Told) -> Finding {
    let id = "store.lifecycle";
    let Told::Is(body) = told else {
        return silence(id, "a rule that ends abandoned uploads", told, "their parts stay for ever and nobody sees them");
    };
    let rules: Vec<&str> = body.split("<Rule>").skip(1).filter(|rule| rule.contains("<Status>Enabled</Status>")).collect();
    let expires = rules.iter().find(|rule| {
        let rule = element(rule, "Expiration").unwrap_or_default();
        rule.contains("<Days>") || rule.contains("<Date>")
    });
    if expires.is_some() {
        return Finding::problem(
            id,
            "a lifecycle rule deletes objects after a time, recordings among them",
            "take its Expiration out, or limit it to a prefix that holds no recordings",
        );
    }
    if rules.iter().any(|rule| rule.contains("<AbortIncompleteMultipartUpload>")) {
        return Finding::ok(id, "abandoned uploads end after a time, and nothing else is deleted");
    }
    Finding::warning(id, "no rule ends abandoned uploads: their parts stay for ever and nobody sees them", GUIDE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Level;

    const LOCKED: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>30</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
    const LIFECYCLE: &str = "<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>";
    const DENY: &str =
        r#"{"Statement":[{"Effect":"Deny","Principal":"*","Action":["s3:DeleteObject","s3:DeleteObjectVersion"],"Resource":"*"}]}"#;

    fn is(body: &str) -> Told {
        Told::Is(body.to_owned())
    }

    fn sound() -> Foreign {
        Foreign {
            way: Way::Encrypted,
            bucket: "edge-munich".into(),
            access: Access::Works,
            ahead_s: Some(0.4),
            protection: Some(Protection {
                versioning: is("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
                lock: is(LOCKED),
                policy_status: is("<PolicyStatus><IsPublic>false</IsPublic></PolicyStatus>"),
                policy: is(DENY),
                lifecycle: is(LIFECYCLE),
            }),
        }
    }

    fn odd(foreign: Foreign) -> Vec<Finding> {
        judge(&Store::Foreign(foreign)).into_iter().filter(|finding| finding.level != Level::Ok).collect()
    }

    #[test]
    fn a_store_that_protects_what_it_has_is_fine() {
        assert_eq!(odd(sound()), []);
    }

    #[test]
    fn one_thing_that_is_wrong_is_one_finding() {
        use Level::{Problem, Warning};
        type Change = Box<dyn Fn(&mut Foreign)>;
        let protection = |change: fn(&mut Protection)| -> Change { Box::new(move |foreign| change(foreign.protection.as_mut().unwrap())) };
        #[rustfmt::skip]
        let table: Vec<(&str, Level, Change)> = vec![
            ("store.tls", Warning, Box::new(|foreign| foreign.way = Way::InTheClear)),
            ("store.clock", Problem, Box::new(|foreign| foreign.ahead_s = Some(-900.0))),
            ("store.versioning", Warning, protection(|p| p.versioning = is("<VersioningConfiguration/>"))),
            ("store.versioning", Warning, protection(|p| p.versioning = is("<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"))),
            ("store.versioning", Warning, protection(|p| p.versioning = Told::Unsupported)),
            ("store.lock", Warning, protection(|p| p.lock = Told::Unset)),
            ("store.lock", Warning, protection(|p| p.lock = is("<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"))),
            ("store.public", Problem, protection(|p| p.policy_status = is("<PolicyStatus><IsPublic>TRUE</IsPublic></PolicyStatus>"))),
            ("store.policy", Warning, protection(|p| p.policy = Told::NotAllowed)),
            ("store.policy", Warning, protection(|p| p.policy = is("{}"))),
            ("store.lifecycle", Warning, protection(|p| p.lifecycle = Told::Unset)),
            ("store.lifecycle", Warning, protection(|p| p.lifecycle = is(&LIFECYCLE.replace("Enabled", "Disabled")))),
            ("store.lifecycle", Warning, protection(|p| p.lifecycle = Told::Failed("500".into()))),
            ("store.lifecycle", Problem, protection(|p| p.lifecycle = is(&LIFECYCLE.replace("</Rule>", "<Expiration><Days>30</Days></Expiration></Rule>")))),
        ];
        for (id, level, change) in table {
            let mut foreign = sound();
            change(&mut foreign);
            let odd = odd(foreign);
            assert!(matches!(odd.as_slice(), [only] if only.id == id && only.level == level && only.todo.is_some()), "{id}: {odd:#?}");
        }
    }

    #[test]
    fn a_rule_that_ends_markers_of_deleted_objects_only_deletes_no_recording() {
        let mut foreign = sound();
        let rule = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule>";
        foreign.protection.as_mut().unwrap().lifecycle = is(&LIFECYCLE.replace("</Rule>", rule));
        assert_eq!(odd(foreign), []);
    }

    #[test]
    fn a_store_that_does_not_let_us_in_is_named_with_its_reason() {
        let level = |access| odd(Foreign { access, ahead_s: None, protection: None, ..sound() })[0].level;
        for access in [Access::Silent, Access::Unreachable("refused".into()), Access::Odd("418".into())] {
            assert_eq!(level(access), Level::Problem);
        }
        for code in ["InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "AccessDenied"] {
            assert_eq!(level(Access::Refused(code.into())), Level::Problem);
        }
        assert_eq!(level(Access::NoBucket), Level::Warning);
    }

    #[test]
    fn answers_of_different_stores_mean_the_same() {
        let code = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>x</Message></Error>");
        for (status, body, meaning) in [
            (200, "<a/>".to_owned(), Told::Is("<a/>".to_owned())),
            (404, code("NoSuchLifecycleConfiguration"), Told::Unset),
            (404, code("ObjectLockConfigurationNotFoundError"), Told::Unset),
            (404, code("NoSuchBucketPolicy"), Told::Unset),
            (501, code("NotImplemented"), Told::Unsupported),
            (400, code("NotImplemented"), Told::Unsupported),
            (405, String::new(), Told::Unsupported),
            (403, code("AccessDenied"), Told::NotAllowed),
            (500, code("InternalError"), Told::Failed("500 InternalError".to_owned())),
        ] {
            assert_eq!(told(status, &body), meaning, "{status} {body}");
        }
    }

    #[test]
    fn only_a_refusal_for_everybody_counts() {
        assert!(denies(DENY, "s3:DeleteObject"));
        assert!(denies(r#"{"Statement":{"Effect":"Deny","Principal":{"AWS":["*"]},"Action":"s3:Delete*"}}"#, "s3:DeleteObject"));
        assert!(denies(r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*"}}"#, "s3:DeleteObject"));
        assert!(!denies(r#"{"Statement":{"Effect":"Deny","Principal":{"AWS":"arn:robot"},"Action":"s3:*"}}"#, "s3:DeleteObject"));
        assert!(!denies(r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*"}}"#, "s3:DeleteObject"));
        assert!(!denies("no policy", "s3:DeleteObject"));
    }

    #[test]
    fn the_endpoint_inside_the_server() {
        for (seen, level) in [
            (Embedded::Asleep, Level::Ok),
            (Embedded::Answers, Level::Ok),
            (Embedded::AnyPort, Level::Warning),
            (Embedded::Silent("no answer".into()), Level::Problem),
            (Embedded::SomethingElse("it answers 200".into()), Level::Problem),
        ] {
            assert_eq!(judge(&Store::Embedded(seen))[0].level, level);
        }
    }
}
