//! Looking: everything here reads, asks or connects, and changes nothing. What is seen becomes facts; what they mean
//! is decided elsewhere. Every look ends within [`LIMIT`].

pub mod database;
pub mod host;
pub mod ports;
pub mod store;

use std::time::Duration;

use super::report::Asked;

/// For one question. A database or store that takes longer has something that is worth knowing.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Of an answer that is read to see who gives it.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What blocks runs on a thread of its own, which is not waited for: a disk or a file system on the network may
/// never answer.
pub async fn on_a_thread<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Asked<T> {
    let (sender, seen) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || sender.send(look()));
    match tokio::time::timeout(LIMIT, seen).await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(_)) => Err("the look ended without an answer".to_owned()),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

/// The start of an answer's body.
async fn body(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES_MAX - body.len())]);
        if body.len() == BODY_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}
