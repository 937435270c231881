//! Accepts HTTP connections on a port until it is told to stop.
//!
//! What strangers can do before anything is known of them ends here: how many connections are taken, how large a head and
//! how slow a body may be, whom a request comes from, and whose pages may send it.

mod admission;
mod door;
mod intake;
mod networks;
mod origins;
mod proxies;

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::header::{CONNECTION, EXPECT};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use admission::{Limits, one_caller};
pub use door::Room;
pub use intake::{Intake, TooSlow};
pub use networks::Networks;
pub use origins::{ForeignOrigin, Origins};
pub use proxies::{Proxies, address_of};

use crate::telemetry::chain;
use door::Door;
use intake::{Left, Lingering};

/// For routes. Longer than the pauses of clients that keep connections, so that it is they who close them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Between attempts to accept when the system is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A head that is larger is answered with 431. A login, some cookies, and a long query fit many times.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// On a request whose only known address is that of a proxy of ours: whom it comes from is not established.
#[derive(Clone, Copy, Debug)]
pub struct ProxyItself;

/// What stands in front of routes.
#[derive(Clone, Debug)]
pub struct Front {
    pub room: Room,
    /// How long a body may take to arrive.
    pub read_timeout: Duration,
    pub origins: Origins,
}

impl Default for Front {
    fn default() -> Self {
        Self { room: Room::default(), read_timeout: Duration::from_secs(30), origins: Origins::default() }
    }
}

/// Takes all the file descriptors that the system grants this process, and answers how many. Unasked it gives a
/// thousand or so, which is fewer connections than a factory has.
pub fn raise_open_files() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Serves routes, whose requests know where they come from, and whether a page of another origin made them.
pub async fn serve_routes(listener: TcpListener, stop: CancellationToken, front: Front, routes: Router) {
    let (room, front) = (front.room.clone(), Arc::new(front));
    let service = move |peer: SocketAddr, unread: Arc<AtomicBool>| {
        let (front, routes) = (front.clone(), TowerToHyperService::new(routes.clone()));
        service_fn(move |request: Request<Incoming>| {
            let (mut parts, body) = request.into_parts();
            let client = front.room.proxies.client(peer, &parts.headers);
            parts.extensions.insert(ConnectInfo(client));
            if front.room.proxies.trusts(client.ip()) {
                parts.extensions.insert(ProxyItself);
            }
            if !front.origins.allow(&parts.method, &parts.headers, front.room.proxies.trusts(peer.ip())) {
                parts.extensions.insert(ForeignOrigin);
            }
            let asks_first = parts.headers.contains_key(EXPECT);
            let (intake, left) = Intake::new(body, front.read_timeout);
            let (answer, unread) = (routes.call(Request::from_parts(parts, intake)), unread.clone());
            async move { Ok::<_, std::convert::Infallible>(keep_or_close(answer.await?, left, asks_first, &unread).await) }
        })
    };
    accept(listener, stop, HEAD_TIMEOUT, Door::new(room), service).await;
}

/// The answer of a request whose body may not have been read: says where its connection takes no other.
async fn keep_or_close<B>(mut response: Response<B>, left: Left, asks_first: bool, unread: &AtomicBool) -> Response<B> {
    if !left.read_away(asks_first).await {
        unread.store(true, Ordering::Relaxed);
        response.headers_mut().insert(CONNECTION, http::HeaderValue::from_static("close"));
    }
    response
}

/// Serves each connection with what `service` makes for its remote address. One that is without a whole head of a
/// request for `head_timeout`, from its start or from the last answer, is closed; a body has `body_timeout` to arrive. After
/// `stop` nothing new is accepted, and open requests have the time until this is dropped.
pub async fn serve<S, B>(
    listener: TcpListener,
    stop: CancellationToken,
    room: Room,
    head_timeout: Duration,
    body_timeout: Duration,
    service: impl Fn(SocketAddr) -> S,
) where
    S: Service<Request<Intake>, Response = Response<B>, Error: Send, Future: Send> + Send + Sync + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let service = |peer: SocketAddr, unread: Arc<AtomicBool>| {
        let service = service(peer);
        service_fn(move |request: Request<Incoming>| {
            let asks_first = request.headers().contains_key(EXPECT);
            let (parts, body) = request.into_parts();
            let (intake, left) = Intake::new(body, body_timeout);
            let (answer, unread) = (service.call(Request::from_parts(parts, intake)), unread.clone());
            async move { Ok::<_, S::Error>(keep_or_close(answer.await?, left, asks_first, &unread).await) }
        })
    };
    accept(listener, stop, head_timeout, Door::new(room), service).await;
}

async fn accept<S, B>(
    listener: TcpListener,
    stop: CancellationToken,
    head_timeout: Duration,
    mut door: Door,
    service: impl Fn(SocketAddr, Arc<AtomicBool>) -> S,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_header_size(HEAD_BYTES_MAX);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
            // Ended connections are forgotten as they end.
            Some(_) = connections.join_next() => continue,
            () = door.something_to_tell() => {
                door.tell();
                continue;
            }
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(error = chain(&error), "Cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Some(place) = door.admit(remote, &stream) else { continue };
        // Requests to devices and acks are single small writes that should leave at once.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(error = chain(&error), "Could not turn off delayed sending");
        }
        let unread = Arc::new(AtomicBool::new(false));
        let io = TokioIo::new(Lingering::new(stream, unread.clone()));
        let connection = http.serve_connection(io, service(remote, unread)).with_upgrades();
        let stop = stop.clone();
        connections.spawn(async move {
            let _until_its_end = place;
            let mut connection = pin!(connection);
            let outcome = tokio::select! {
                outcome = connection.as_mut() => outcome,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = outcome {
                debug!(error = chain(&error), %remote, "A connection broke");
            }
        });
    }
    drop(listener);
    door.tell();
    // What is still open when this is dropped is cut with the set.
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Instant;

    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    const HEAD: Duration = Duration::from_millis(300);

    async fn started(answer_after: Duration) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let service = move |remote: SocketAddr| {
            service_fn(move |_request| async move {
                tokio::time::sleep(answer_after).await;
                Ok::<_, Infallible>(Response::new(remote.to_string()))
            })
        };
        let server = tokio::spawn(serve(listener, stop.clone(), Room::default(), HEAD, HEAD, service));
        (address, stop, server)
    }

    async fn read_all(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut text)).await.expect("an end").unwrap();
        text
    }

    #[tokio::test]
    async fn a_head_that_never_ends_ends_its_connection_and_a_slow_answer_does_not() {
        let (address, _stop, _server) = started(HEAD * 3).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut patient = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        patient.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let asked = Instant::now();
        assert_eq!((read_all(&mut slow).await, read_all(&mut idle).await), (String::new(), String::new()));
        assert!(asked.elapsed() >= HEAD);
        // Its connection ends too, when nothing more is asked on it.
        let answer = read_all(&mut patient).await;
        let from = patient.local_addr().unwrap().to_string();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&from), "{answer}");
    }

    #[tokio::test]
    async fn a_stop_lets_open_requests_end_and_takes_no_more() {
        let (address, stop, server) = started(HEAD).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(HEAD / 3).await;
        stop.cancel();
        assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200"));
        tokio::time::timeout(Duration::from_secs(20), server).await.expect("an end").unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
