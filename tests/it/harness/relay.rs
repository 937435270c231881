//! A relay in front of a server: it counts how often one side waits for the other, and can be cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    /// How often a client spoke after it had been answered.
    turns: AtomicU64,
    stopped: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

pub struct Relay {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Relay {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    break;
                }
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(target)) {
                    relay(&shared, client, server);
                }
            }
        });
        Self { address, state }
    }

    /// Round trips since the last time this was asked.
    pub fn turns(&self) -> u64 {
        self.state.turns.swap(0, Ordering::SeqCst)
    }

    /// Breaks every connection, as a network does. New ones are relayed.
    pub fn cut(&self) {
        for stream in self.state.streams.lock().expect("the list").drain(..) {
            let _gone_already = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        let _ends = TcpStream::connect(self.address);
    }
}

fn relay(state: &Arc<State>, client: TcpStream, server: TcpStream) {
    client.set_nodelay(true).expect("an option");
    server.set_nodelay(true).expect("an option");
    let clone = |stream: &TcpStream| stream.try_clone().expect("a clone");
    state.streams.lock().expect("the list").extend([clone(&client), clone(&server)]);
    let client_spoke_last = Arc::new(AtomicBool::new(false));
    for (from_client, mut from, mut to) in [(true, clone(&client), clone(&server)), (false, server, client)] {
        let (state, client_spoke_last) = (state.clone(), client_spoke_last.clone());
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                if from_client != client_spoke_last.swap(from_client, Ordering::SeqCst) && from_client {
                    state.turns.fetch_add(1, Ordering::SeqCst);
                }
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            let _gone_already = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}
