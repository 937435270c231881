//! Questions to the object store. Only reading ones; no object is touched.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};

use super::{LIMIT, body};
use crate::blobs::{self, BlobError, Blobs, BucketAnswer};
use crate::config::{self, Config, S3, Secret, reachable};
use crate::doctor::addresses::is_loopback;
use crate::doctor::store::{Access, Embedded, Foreign, Protection, Store, Told, Way, element, told};
use crate::telemetry::chain;

/// `held`: a server holds the data folder.
pub async fn look(config: &Config, held: bool) -> Store {
    match &config.s3.endpoint {
        None => Store::Embedded(inside(&config.embedded, held).await),
        Some(endpoint) => Store::Foreign(outside(&config.s3, endpoint).await),
    }
}

/// Asked without a signature: a refusal as S3 has it is the answer of a store that is well.
async fn inside(embedded: &config::Embedded, held: bool) -> Embedded {
    let bind = embedded.s3_bind;
    if bind.port() == 0 {
        return Embedded::AnyPort;
    }
    let client = reqwest::Client::builder().timeout(LIMIT).no_proxy().build();
    let answer = match client {
        Ok(client) => client.get(format!("http://{}/", reachable(bind))).send().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => {
            let status = answer.status();
            let body = body(answer).await;
            match element(&body, "Code") {
                Some(_) if held => Embedded::Answers,
                Some(_) => Embedded::SomethingElse("a store of another server, because none holds our data folder".to_owned()),
                None => Embedded::SomethingElse(format!("it answers {status}")),
            }
        }
        Err(error) if !held && error.is_connect() => Embedded::Asleep,
        Err(error) => Embedded::Silent(chain(&error)),
    }
}

async fn outside(s3: &S3, endpoint: &str) -> Foreign {
    let way = match endpoint {
        near if is_loopback(near) => Way::SameHost,
        far if far.starts_with("https://") => Way::Encrypted,
        _ => Way::InTheClear,
    };
    let unseen = |access| Foreign { way, bucket: s3.bucket.clone(), access, ahead_s: None, protection: None };
    let access = blobs::Access {
        endpoint: endpoint.to_owned(),
        public_endpoint: None,
        access_key: s3.access_key.clone().unwrap_or_default(),
        secret_key: s3.secret_key.clone().unwrap_or_else(|| Secret::new("")),
        local: None,
    };
    let bucket = match Blobs::new(access, s3) {
        Ok(bucket) => bucket,
        Err(error) => return unseen(Access::Odd(chain(&error))),
    };
    let head = match ask(&bucket, "").await {
        Ok(head) => head,
        Err(access) => return unseen(access),
    };
    let ahead_s = head.date.map(ahead_s);
    let access = match head.status {
        200..=299 => Access::Works,
        // The answer to HEAD has no body that would name the reason.
        _ => match ask(&bucket, "list-type=2&max-keys=1").await {
            Ok(answer) => listed(&answer),
            Err(access) => access,
        },
    };
    let protection = if access == Access::Works { protection(&bucket).await } else { None };
    Foreign { ahead_s, protection, ..unseen(access) }
}

async fn ask(bucket: &Blobs, query: &str) -> Result<BucketAnswer, Access> {
    match tokio::time::timeout(LIMIT, bucket.ask_bucket(query)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(BlobError::Unavailable(cause))) => Err(Access::Unreachable(chain(cause.as_ref()))),
        Ok(Err(error)) => Err(Access::Odd(chain(&error))),
        Err(_) => Err(Access::Silent),
    }
}

fn listed(answer: &BucketAnswer) -> Access {
    let code = element(&answer.body, "Code");
    match (answer.status, code) {
        // There are stores that let a key list and not ask for the bucket itself.
        (200..=299, _) => Access::Works,
        (404, _) => Access::NoBucket,
        (401 | 403, code) => Access::Refused(code.unwrap_or_else(|| answer.status.to_string())),
        (status, Some(code)) => Access::Odd(format!("{status} {code}")),
        (status, None) => Access::Odd(status.to_string()),
    }
}

/// The questions stop at the first without an answer.
async fn protection(bucket: &Blobs) -> Option<Protection> {
    let mut answers = Vec::new();
    for query in ["versioning=", "object-lock=", "policyStatus=", "policy=", "lifecycle="] {
        let silent = answers.iter().any(|answer| matches!(answer, Told::Failed(_)));
        answers.push(match silent {
            true => Told::Failed("an earlier question was not answered".to_owned()),
            false => match ask(bucket, query).await {
                Ok(answer) => told(answer.status, &answer.body),
                Err(Access::Unreachable(why) | Access::Odd(why)) => Told::Failed(why),
                Err(_) => Told::Failed(format!("no answer within {} s", LIMIT.as_secs())),
            },
        });
    }
    let [versioning, lock, policy_status, policy, lifecycle] = answers.try_into().ok()?;
    Some(Protection { versioning, lock, policy_status, policy, lifecycle })
}

/// A date on the wire is cut to whole seconds.
fn ahead_s(date: DateTime<Utc>) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    date.timestamp() as f64 + 0.5 - now
}
