//! Whose key opens what in the store.
//!
//! Three kinds of callers: this server, whose key never leaves it; robots, each with a key of its own, which opens
//! nothing but the robot's own objects; and holders of the key that all robots shared before they had their own.
//! A robot's secret is derived from the public half of its key, so that none is stored: its signature is judged
//! without asking anybody, and only who signed rightly is looked up.
//!
//! A refusal that waiting can mend (a key that was replaced, a database that is away) is 503, after which a robot
//! tries again; 403 makes it give the file up for good, so it is only for what no waiting mends. The same goes for what
//! is refused before it comes here (`s3::waiting`).
//! What is already there is the business of the guard of the file layer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};
use sha2::Sha256;

use crate::blobs::{is_of_log, is_salvaged};
use crate::config::Secret;

/// Every secret of a robot starts with it, and is found by it where it should not be.
const SECRET_PREFIX: &str = "kss_v1_";

/// How the public half of a robot's key looks, as its registration makes it: `KR` and letters.
const PUBLIC_PREFIX: &str = "KR";
const PUBLIC_CHARS: usize = 20;

/// How long what is known of a key is taken for true: the longest that a replaced key goes on working.
const FRESH: Duration = Duration::from_secs(2);

/// How long it is used while the database is away. A robot that came in the last hours goes on uploading.
const STALE_MAX: Duration = Duration::from_secs(6 * 3600);

/// Keys remembered at most; a factory has hundreds.
const REMEMBERED_MAX: usize = 4096;

#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: Secret,
}

/// From which the secrets of all robots are derived.
#[derive(Clone, Debug)]
pub struct RobotKeys(Secret);

impl RobotKeys {
    pub fn new(master: Secret) -> Self {
        Self(master)
    }

    pub fn secret_of(&self, access_key: &str) -> Secret {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose().as_bytes()).expect("a key of any length");
        mac.update(b"store key of a robot\0");
        mac.update(access_key.as_bytes());
        Secret::new(format!("{SECRET_PREFIX}{}", hex::encode(mac.finalize().into_bytes())))
    }
}

/// The key that all robots held before each had its own.
#[derive(Clone, Debug)]
pub struct SharedKey {
    pub credentials: Credentials,
    /// Switched off, it is still known, so that a robot that has it is told to wait.
    pub allowed: bool,
}

/// The database did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

/// What is known of robots and their keys. A trait, because nothing in `embedded` knows the tables: the server has it from
/// them (`app::adapters`).
#[async_trait]
pub trait Holders: Send + Sync {
    /// The device id of the robot whose key it is now.
    async fn robot(&self, access_key: &str) -> Result<Option<String>, Away>;
    /// Whether the robot of this device id has a key of its own.
    async fn has_own_key(&self, device_id: &str) -> Result<bool, Away>;
}

/// Robots with keys of their own.
pub struct Robots {
    pub keys: RobotKeys,
    pub holders: Arc<dyn Holders>,
}

/// Every key there is, and what it opens.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    own: Credentials,
    shared: Option<SharedKey>,
    robots: Option<Robots>,
    bucket: String,
    robot_of: Remembered<Option<String>>,
    has_own: Remembered<bool>,
    patience: Patience,
}

/// How long an answer of the database is used: while it answers, and while it is away.
#[derive(Clone, Copy, Debug)]
struct Patience {
    fresh: Duration,
    stale: Duration,
}

/// Who signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signer {
    Server,
    Shared,
    Robot,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// As S3 names it, `PutObject`.
    pub operation: &'a str,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    pub fn new(own: Credentials, shared: Option<SharedKey>, robots: Option<Robots>, bucket: &str) -> Self {
        let patience = Patience { fresh: FRESH, stale: STALE_MAX };
        let (robot_of, has_own) = (Remembered::default(), Remembered::default());
        Self(Arc::new(Inner { own, shared, robots, bucket: bucket.to_owned(), robot_of, has_own, patience }))
    }

    pub fn own(&self) -> &Credentials {
        &self.0.own
    }

    /// Secrets that must not be seen outside.
    pub fn secrets(&self) -> Vec<Secret> {
        let Inner { own, shared, robots, .. } = self.0.as_ref();
        let shared = shared.iter().map(|shared| shared.credentials.secret_key.clone());
        let master = robots.iter().map(|robots| robots.keys.0.clone());
        std::iter::once(own.secret_key.clone()).chain(shared).chain(master).collect()
    }

    /// Whether a key is one that robots were given, as far as it shows.
    pub fn robots_hold(&self, access_key: &str) -> bool {
        match self.signer(access_key) {
            Signer::Server => false,
            Signer::Shared => true,
            Signer::Robot => {
                let letters = access_key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
                access_key.starts_with(PUBLIC_PREFIX) && access_key.len() == PUBLIC_CHARS && letters
            }
        }
    }

    fn signer(&self, access_key: &str) -> Signer {
        if access_key == self.0.own.access_key {
            Signer::Server
        } else if self.0.shared.as_ref().is_some_and(|shared| shared.credentials.access_key == access_key) {
            Signer::Shared
        } else {
            Signer::Robot
        }
    }

    /// Whether who signed with the key may do this.
    pub async fn check(&self, access_key: &str, asked: Asked<'_>) -> S3Result<()> {
        let Inner { shared, bucket, robots, robot_of, has_own, patience, .. } = self.0.as_ref();
        match self.signer(access_key) {
            Signer::Server => Ok(()),
            Signer::Shared => {
                if shared.as_ref().is_none_or(|shared| !shared.allowed) {
                    return Err(wait("the key that robots shared is switched off; each robot has a key of its own"));
                }
                if !may_robots(asked.operation) && !may_read(asked.operation) {
                    return Err(s3_error!(AccessDenied, "This key may upload and read, nothing else"));
                }
                if may_robots(asked.operation) && asked.key.is_some_and(is_salvaged) {
                    return Err(s3_error!(AccessDenied, "What was salvaged is written by this server, and by nobody else"));
                }
                refuse_of_log(asked)?;
                let device = asked.key.filter(|_| may_robots(asked.operation)).and_then(device_of);
                let (Some(device), Some(robots)) = (device, robots) else { return Ok(()) };
                match has_own.get(*patience, device, || robots.holders.has_own_key(device)).await {
                    Ok(true) => Err(wait("this robot has a key of its own, which replaces the one that robots shared")),
                    // A plain upload goes on without the database; what is there already, the guard protects.
                    Ok(false) | Err(Away) => Ok(()),
                }
            }
            Signer::Robot => {
                const UNKNOWN: &str = "this key was replaced by another, or is no robot's here";
                let Some(robots) = robots else { return Err(wait(UNKNOWN)) };
                let device = match robot_of.get(*patience, access_key, || robots.holders.robot(access_key)).await {
                    Ok(Some(device)) => device,
                    Ok(None) => return Err(wait(UNKNOWN)),
                    Err(Away) => return Err(wait("whose key this is cannot be looked up now")),
                };
                refuse_of_log(asked)?;
                let own = asked.bucket == Some(bucket.as_str()) && asked.key.and_then(device_of) == Some(device.as_str());
                if may_robots(asked.operation) && own {
                    return Ok(());
                }
                Err(s3_error!(AccessDenied, "A robot may upload below `<factory>/{device}/` of the bucket `{bucket}`, nothing else"))
            }
        }
    }
}

/// Only this server's own key.
impl From<Credentials> for Keys {
    fn from(own: Credentials) -> Self {
        Self::new(own, None, None, "")
    }
}

#[async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let Inner { own, shared, robots, .. } = self.0.as_ref();
        match (self.signer(access_key), shared, robots) {
            (Signer::Server, ..) => Ok(own.secret_key.expose().into()),
            (Signer::Shared, Some(shared), _) => Ok(shared.credentials.secret_key.expose().into()),
            (Signer::Robot, _, Some(robots)) => Ok(robots.keys.secret_of(access_key).expose().into()),
            _ => Err(s3_error!(InvalidAccessKeyId, "There is no such key")),
        }
    }
}

/// What others prove the log with is no robot's to write, whatever its factory is called.
fn refuse_of_log(asked: Asked<'_>) -> S3Result<()> {
    if may_robots(asked.operation) && asked.key.is_some_and(is_of_log) {
        return Err(s3_error!(AccessDenied, "The tree of the log is written by this server, and by nobody else"));
    }
    Ok(())
}

/// What an uploader does: it looks, and writes, at once or in parts.
fn may_robots(operation: &str) -> bool {
    matches!(
        operation,
        "HeadObject" | "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" | "AbortMultipartUpload"
    )
}

/// What people did with the key that robots shared.
fn may_read(operation: &str) -> bool {
    matches!(
        operation,
        "GetObject"
            | "ListBuckets"
            | "HeadBucket"
            | "GetBucketLocation"
            | "ListObjects"
            | "ListObjectsV2"
            | "ListParts"
            | "ListMultipartUploads"
    )
}

/// Whose object it is: `<factory>/<device>/…`. The factory is what the robot's configuration says, so it tells nothing.
fn device_of(key: &str) -> Option<&str> {
    let mut segments = key.split('/');
    let (factory, device, file) = (segments.next()?, segments.next()?, segments.next()?);
    (!factory.is_empty() && !device.is_empty() && !file.is_empty()).then_some(device)
}

fn wait(reason: &'static str) -> s3s::S3Error {
    s3s::S3Error::with_message(s3s::S3ErrorCode::ServiceUnavailable, reason)
}

/// Answers of the database, for a moment, and for longer while it is away.
struct Remembered<V>(Mutex<HashMap<String, (Instant, V)>>);

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone> Remembered<V> {
    async fn get<F>(&self, patience: Patience, of: &str, ask: impl FnOnce() -> F) -> Result<V, Away>
    where
        F: Future<Output = Result<V, Away>>,
    {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(of).cloned();
        let asked_at = Instant::now();
        if let Some((_, value)) = known.as_ref().filter(|(at, _)| asked_at - *at < patience.fresh) {
            return Ok(value.clone());
        }
        match ask().await {
            Ok(value) => {
                let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= REMEMBERED_MAX {
                    known.retain(|_, (at, _)| asked_at - *at < patience.fresh);
                }
                if known.len() < REMEMBERED_MAX {
                    known.insert(of.to_owned(), (asked_at, value.clone()));
                }
                Ok(value)
            }
            Err(Away) => known.filter(|(at, _)| asked_at - *at < patience.stale).map(|(_, value)| value).ok_or(Away),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Robots as a test says they are.
    #[derive(Default)]
    struct Told(Mutex<(HashMap<String, String>, bool)>);

    impl Told {
        fn give(&self, access_key: &str, device: &str) {
            let mut told = self.0.lock().unwrap();
            told.0.retain(|_, known| known != device);
            told.0.insert(access_key.to_owned(), device.to_owned());
        }

        fn go(&self, away: bool) {
            self.0.lock().unwrap().1 = away;
        }
    }

    #[async_trait]
    impl Holders for Told {
        async fn robot(&self, access_key: &str) -> Result<Option<String>, Away> {
            let told = self.0.lock().unwrap();
            if told.1 { Err(Away) } else { Ok(told.0.get(access_key).cloned()) }
        }

        async fn has_own_key(&self, device_id: &str) -> Result<bool, Away> {
            let told = self.0.lock().unwrap();
            if told.1 { Err(Away) } else { Ok(told.0.values().any(|known| known == device_id)) }
        }
    }

    fn credentials(name: &str) -> Credentials {
        Credentials { access_key: name.to_owned(), secret_key: Secret::new(format!("secret of {name}")) }
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn keys(allowed: bool) -> (Keys, Arc<Told>) {
        keys_remembering(allowed, Patience { fresh: Duration::ZERO, stale: LONG })
    }

    fn keys_remembering(allowed: bool, patience: Patience) -> (Keys, Arc<Told>) {
        let told = Arc::new(Told::default());
        told.give("KR1", "robot-1");
        let shared = SharedKey { credentials: credentials("shared"), allowed };
        let robots = Robots { keys: RobotKeys::new(Secret::new("master")), holders: told.clone() };
        let keys = Keys::new(credentials("server"), Some(shared), Some(robots), "bucket");
        let mut inner = Arc::into_inner(keys.0).expect("one holder");
        inner.patience = patience;
        (Keys(Arc::new(inner)), told)
    }

    async fn status(keys: &Keys, access_key: &str, operation: &str, bucket: Option<&str>, key: Option<&str>) -> u16 {
        let checked = keys.check(access_key, Asked { operation, bucket, key }).await;
        checked.map_or_else(|refused| refused.code().status_code().unwrap_or_default().as_u16(), |()| 200)
    }

    #[tokio::test]
    async fn each_key_opens_its_own_and_nothing_else() {
        let (keys, _) = keys(true);
        let (own, sidecar, foreign) =
            (Some("1/robot-1/2026-11-20/t.mcap"), Some("Факт/robot-1/d/t.json"), Some("1/robot-2/2026-11-20/t.mcap"));
        // What is asked, of which bucket and key, and the answer to server, shared key and robot.
        for (operation, bucket, key, answers) in [
            ("PutObject", Some("bucket"), own, [200, 503, 200]),
            ("PutObject", Some("bucket"), sidecar, [200, 503, 200]),
            ("PutObject", Some("bucket"), foreign, [200, 200, 403]),
            ("PutObject", Some("other"), own, [200, 503, 403]),
            ("PutObject", Some("bucket"), Some("robot-1/t.mcap"), [200, 200, 403]),
            ("PutObject", Some("bucket"), Some("robot-2/robot-1"), [200, 200, 403]),
            ("PutObject", Some("bucket"), Some("1/robot-1/"), [200, 200, 403]),
            ("PutObject", Some("bucket"), Some("salvaged/0a.mcap"), [200, 403, 403]),
            ("CreateMultipartUpload", Some("bucket"), Some("salvaged/0a.mcap"), [200, 403, 403]),
            ("GetObject", Some("bucket"), Some("salvaged/0a.mcap"), [200, 200, 403]),
            ("PutObject", Some("bucket"), Some("_log/keystone-edge/1/tile/0/000"), [200, 403, 403]),
            ("PutObject", Some("bucket"), Some("_log/robot-1/checkpoint"), [200, 403, 403]),
            ("HeadObject", Some("bucket"), own, [200, 503, 200]),
            ("HeadObject", Some("bucket"), foreign, [200, 200, 403]),
            ("CreateMultipartUpload", Some("bucket"), own, [200, 503, 200]),
            ("UploadPart", Some("bucket"), own, [200, 503, 200]),
            ("CompleteMultipartUpload", Some("bucket"), foreign, [200, 200, 403]),
            ("AbortMultipartUpload", Some("bucket"), foreign, [200, 200, 403]),
            ("GetObject", Some("bucket"), own, [200, 200, 403]),
            ("ListObjectsV2", Some("bucket"), None, [200, 200, 403]),
            ("ListBuckets", None, None, [200, 200, 403]),
            ("DeleteObject", Some("bucket"), own, [200, 403, 403]),
            ("DeleteObjects", Some("bucket"), None, [200, 403, 403]),
            ("CopyObject", Some("bucket"), own, [200, 403, 403]),
            ("UploadPartCopy", Some("bucket"), own, [200, 403, 403]),
            ("PostObject", Some("bucket"), own, [200, 403, 403]),
            ("PutObjectTagging", Some("bucket"), own, [200, 403, 403]),
            ("CreateBucket", Some("other"), None, [200, 403, 403]),
            ("DeleteBucket", Some("bucket"), None, [200, 403, 403]),
            ("PutBucketPolicy", Some("bucket"), None, [200, 403, 403]),
        ] {
            for (signer, answer) in ["server", "shared", "KR1"].into_iter().zip(answers) {
                let said = status(&keys, signer, operation, bucket, key).await;
                assert_eq!(said, answer, "{signer}: {operation} {bucket:?} {key:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_replaced_key_ends_as_soon_as_it_is_looked_up_and_its_robot_is_told_to_wait() {
        for (fresh, after) in [(Duration::ZERO, 503), (LONG, 200)] {
            let (keys, told) = keys_remembering(true, Patience { fresh, stale: LONG });
            let put = async |access_key| status(&keys, access_key, "PutObject", Some("bucket"), Some("1/robot-1/d/t.mcap")).await;
            assert_eq!(put("KR1").await, 200);
            told.give("KR2", "robot-1");
            assert_eq!((put("KR1").await, put("KR2").await), (after, 200), "{fresh:?}");
        }
    }

    #[tokio::test]
    async fn a_known_key_goes_on_working_while_the_database_is_away_and_an_unknown_one_waits() {
        for (stale, known) in [(LONG, 200), (Duration::ZERO, 503)] {
            let (keys, told) = keys_remembering(true, Patience { fresh: Duration::ZERO, stale });
            told.give("KR3", "robot-3");
            let put = async |access_key, key| status(&keys, access_key, "PutObject", Some("bucket"), Some(key)).await;
            assert_eq!(put("KR1", "1/robot-1/d/t.mcap").await, 200);
            told.go(true);
            assert_eq!(put("KR1", "1/robot-1/d/t.mcap").await, known, "{stale:?}");
            assert_eq!(put("KR1", "1/robot-2/d/t.mcap").await, if known == 200 { 403 } else { 503 });
            assert_eq!(put("KR3", "1/robot-3/d/t.mcap").await, 503);
            assert_eq!(put("shared", "1/robot-4/d/t.mcap").await, 200);
        }
    }

    #[tokio::test]
    async fn the_shared_key_can_be_switched_off() {
        let (keys, _) = keys(false);
        assert_eq!(status(&keys, "shared", "PutObject", Some("bucket"), Some("1/robot-9/d/t.mcap")).await, 503);
        assert_eq!(status(&keys, "shared", "GetObject", Some("bucket"), Some("1/robot-9/d/t.mcap")).await, 503);
    }

    #[tokio::test]
    async fn secrets_are_derived_from_public_halves_and_differ() {
        let (keys, _) = keys(true);
        let secret = async |key: &str| keys.get_secret_key(key).await.map(|secret| secret.expose().to_owned()).unwrap();
        assert_eq!(secret("server").await, "secret of server");
        assert_eq!(secret("shared").await, "secret of shared");
        assert_ne!(secret("KR1").await, secret("KR2").await);
        assert_eq!(secret("KR1").await, secret("KR1").await);
        let bare = Keys::from(credentials("server"));
        assert!(bare.get_secret_key("KR1").await.is_err());
    }
}
