//! A balancer in front of several servers, as a factory has one: each connection goes to a server that takes it.
//! It can be taken away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub struct Balancer {
    pub address: SocketAddr,
    away: Arc<watch::Sender<bool>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Balancer {
    pub async fn to(servers: Vec<String>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let away = Arc::new(watch::Sender::new(false));
        let (servers, next, gone) = (Arc::new(servers), Arc::new(AtomicUsize::new(0)), away.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *gone.borrow() {
                    continue;
                }
                let (servers, first, mut gone) = (servers.clone(), next.fetch_add(1, Ordering::Relaxed), gone.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = serve(client, &servers, first) => {}
                        _ = gone.wait_for(|gone| *gone) => {}
                    }
                });
            }
        });
        Self { address, away, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Ends every connection and takes no new one, or takes them again.
    pub fn set_away(&self, away: bool) {
        self.away.send_replace(away);
    }
}

async fn serve(mut client: TcpStream, servers: &[String], first: usize) {
    for n in 0..servers.len() {
        if let Ok(mut server) = TcpStream::connect(&servers[(first + n) % servers.len()]).await {
            // Small frames wait for nobody, and ends of connections are passed on as ends.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
