//! Who asks for what, for the log: each failure of ours and each refusal is one line that names the request.
//!
//! A failure is ours, is logged as an error where it happens, with its causes, and is told to the client in few words.
//! What is refused is the client's business, and any stranger can be refused as often as they want: of that a few lines are
//! written in a while, and how many there were beside them. What S3 clients ask to find something out is no refusal.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use s3s::HttpResponse;
use tracing::{error, info};

use super::waiting::{Signed, element_of};
use crate::telemetry::{brief, chain, without_token};

tokio::task_local! {
    static ASKING: Arc<Asking>;
}

/// A request, as the log names it. Also in its extensions, for who knows what it means.
#[derive(Debug)]
pub struct Asking {
    remote: SocketAddr,
    method: Method,
    /// As it was sent, with the bucket.
    object: String,
    /// Of whom says to have signed it.
    access_key: Option<String>,
    /// The operation as S3 names it, and its object as it was meant; not known before access is checked.
    meant: OnceLock<(String, String)>,
    /// It was told as a failure of ours.
    told: AtomicBool,
}

impl Asking {
    pub fn of<B>(remote: SocketAddr, request: &Request<B>, signed: &Signed) -> Arc<Self> {
        Arc::new(Self {
            remote,
            method: request.method().clone(),
            // An uploader may ask at the wrong port.
            object: without_token(request.uri().path()).trim_start_matches('/').to_owned(),
            access_key: signed.access_key().map(str::to_owned),
            meant: OnceLock::new(),
            told: AtomicBool::new(false),
        })
    }

    /// The request of this task, if it is one.
    pub fn now() -> Option<Arc<Self>> {
        ASKING.try_with(Arc::clone).ok()
    }

    pub fn is_for(&self, operation: &str, bucket: Option<&str>, key: Option<&str>) {
        let object: Vec<&str> = bucket.into_iter().chain(key).collect();
        self.meant.get_or_init(|| (operation.to_owned(), object.join("/")));
    }

    fn operation(&self) -> &str {
        self.meant.get().map_or(self.method.as_str(), |(operation, _)| operation)
    }

    fn object(&self) -> &str {
        self.meant.get().map_or(&self.object, |(_, object)| object)
    }

    fn access_key(&self) -> &str {
        self.access_key.as_deref().unwrap_or("nobody")
    }

    fn failed(&self, error: &io::Error, what: &str) {
        self.told.store(true, Ordering::Relaxed);
        let (operation, object, access_key) = (self.operation(), brief(self.object()), brief(self.access_key()));
        let (cause, remote) = (chain(error), self.remote);
        error!(
            store.operation = operation, object.key = %object, %access_key, %remote, error = cause,
            "The object store {what}: {operation} of `{object}` for {access_key} from {remote}: {cause}"
        );
    }

    /// Writes the line about a refusal, if this is one and there was none too many.
    pub fn answered(&self, answer: &HttpResponse, refusals: &Refusals) {
        let status = answer.status();
        let asked = matches!(status, StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE);
        if !(status.is_client_error() || status.is_server_error()) || asked || self.told.load(Ordering::Relaxed) {
            return;
        }
        let Some(untold) = refusals.next(Instant::now()) else { return };
        let body = answer.body().bytes();
        let element = |name| body.as_deref().and_then(|body| element_of(body, name)).unwrap_or_default();
        let (operation, object, access_key) = (self.operation(), brief(self.object()), brief(self.access_key()));
        let (remote, status, code, why) = (self.remote, status.as_u16(), element("Code"), element("Message"));
        info!(
            store.operation = operation, object.key = %object, %access_key, %remote, status, code, untold,
            "The object store refused {operation} of `{object}` to {access_key} from {remote}: {status} {code}: {}", brief(why)
        );
    }
}

/// Logs what the file system would not do, with the request for which it was tried, if it was for one.
pub fn failed(asking: Option<&Asking>, error: &io::Error) {
    let what = match error.kind() {
        io::ErrorKind::StorageFull => "has no space left on its disk",
        io::ErrorKind::QuotaExceeded => "has used up what its user may have on its disk",
        io::ErrorKind::ReadOnlyFilesystem => "cannot write to its disk",
        _ => "failed",
    };
    match asking {
        Some(asking) => asking.failed(error, what),
        None => error!(error = chain(error), "The object store {what}: {}", chain(error)),
    }
}

/// The work of a request, so that the log can name it.
pub async fn on_behalf_of<T>(asking: Arc<Asking>, work: impl Future<Output = T>) -> T {
    ASKING.scope(asking, work).await
}

/// The same for work that goes on in a task of its own.
pub async fn carried<T>(asking: Option<Arc<Asking>>, work: impl Future<Output = T>) -> T {
    match asking {
        Some(asking) => on_behalf_of(asking, work).await,
        None => work.await,
    }
}

/// Lines about refusals in a while.
const LINES_MAX: u32 = 20;
const WHILE: Duration = Duration::from_secs(10);

/// How many refusals were written to the log lately.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    since: Option<Instant>,
    lines: u32,
    untold: u64,
}

impl Refusals {
    /// Whether one more is written, and how many were not since the last that was.
    fn next(&self, now: Instant) -> Option<u64> {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.since.is_none_or(|since| now >= since + WHILE) {
            (lately.since, lately.lines) = (Some(now), 0);
        }
        if lately.lines >= LINES_MAX {
            lately.untold += 1;
            return None;
        }
        lately.lines += 1;
        Some(std::mem::take(&mut lately.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_refusals_a_few_are_written_and_the_others_counted() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let told = (0..LINES_MAX + 5).filter_map(|_| refusals.next(start)).collect::<Vec<_>>();
        assert_eq!(told, vec![0; LINES_MAX as usize]);
        assert_eq!(refusals.next(start + WHILE), Some(5));
        assert_eq!(refusals.next(start + WHILE), Some(0));
    }
}
