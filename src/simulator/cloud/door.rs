//! Where connections to a service come in. In an outage nobody comes in, or nothing moves.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::faults::OutageKind;
use super::ledger::Injected;
use super::line::Line;
use super::passage::{Passage, Protocol};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long open requests may take to end when we stop; those still open after that are cut.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// After a connection could not be accepted: there are too many, and some may end.
const PAUSE: Duration = Duration::from_millis(100);

enum Door {
    Open(TcpListener),
    /// The address is held without listening there: the system refuses connections.
    Shut(TcpSocket),
}

impl Door {
    /// Open or shut as the outage wants it. The address is free for a moment in between.
    fn turned(self, refusing: bool, address: SocketAddr) -> io::Result<Self> {
        match (self, refusing) {
            (Self::Open(listener), true) => {
                drop(listener);
                let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                Ok(Self::Shut(socket))
            }
            (Self::Shut(socket), false) => Ok(Self::Open(socket.listen(BACKLOG)?)),
            (as_it_is, _) => Ok(as_it_is),
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Self::Open(listener) => Ok(listener.accept().await?.0),
            Self::Shut(_) => std::future::pending().await,
        }
    }
}

/// Accepts connections until `stop`, and lets those that are open end.
pub async fn keep(listener: TcpListener, passage: Arc<Passage>, stop: CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut door = Door::Open(listener);
    let mut outage = passage.switch.outage();
    let mut connections = JoinSet::new();
    loop {
        let refusing = *outage.borrow_and_update() == Some(OutageKind::Refuse);
        door = door.turned(refusing, address)?;
        tokio::select! {
            () = stop.cancelled() => break,
            // Its sender lives as long as the passage.
            _ = outage.changed() => {}
            Some(_) = connections.join_next() => {}
            accepted = door.accept() => match accepted {
                Ok(stream) => drop(connections.spawn(attend(stream, passage.clone(), stop.clone()))),
                Err(error) => {
                    warn!("A connection to {address} was not accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(door);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
        debug!("Connections to {address} were still open after {} s, and are cut", STOP_TIMEOUT.as_secs());
    }
    Ok(())
}

/// A connection until it ends, of which no more requests are taken once it is to stop.
macro_rules! until_stopped {
    ($connection:expr, $stop:expr) => {{
        let connection = $connection;
        tokio::pin!(connection);
        tokio::select! {
            ended = &mut connection => return ended,
            () = $stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }};
}

/// A connection until its end, whichever comes first.
async fn attend(stream: TcpStream, passage: Arc<Passage>, stop: CancellationToken) {
    let mut outage = passage.switch.outage();
    let latency = passage.switch.faults().latency;
    let cut = CancellationToken::new();
    // Small answers go at once.
    if let Err(error) = stream.set_nodelay(true) {
        debug!("A connection keeps its delays: {error}");
    }
    let line = Line::new(stream, passage.switch.clone(), cut.clone());
    let attended = service_fn(|request| {
        let (passage, cut) = (passage.clone(), cut.clone());
        async move { Ok::<_, Infallible>(passage.pass(request, cut).await) }
    });
    let connection = async {
        if latency > Duration::ZERO {
            tokio::time::sleep(latency).await;
        }
        let line = TokioIo::new(line);
        match passage.service.protocol() {
            // What an outage holds up is not late.
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                until_stopped!(builder.header_read_timeout(None::<Duration>).serve_connection(line, attended), stop)
            }
            Protocol::Http2 => until_stopped!(http2::Builder::new(TokioExecutor::new()).serve_connection(line, attended), stop),
        }
    };
    tokio::pin!(connection);
    loop {
        let now = *outage.borrow_and_update();
        match now {
            None => {}
            Some(OutageKind::Refuse) => {
                passage.ledger.injected(Injected::ConnectionInOutage);
                cut.cancel();
                return;
            }
            Some(OutageKind::Swallow) => {
                passage.ledger.injected(Injected::ConnectionInOutage);
                // Nobody looks at it meanwhile: nothing is read, and nothing sent.
                tokio::select! {
                    _ = outage.wait_for(|now| *now != Some(OutageKind::Swallow)) => continue,
                    () = stop.cancelled() => return cut.cancel(),
                }
            }
        }
        tokio::select! {
            biased;
            () = cut.cancelled() => return,
            _ = outage.changed() => {}
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!("A connection ended early: {error}");
                }
                return;
            }
        }
    }
}
