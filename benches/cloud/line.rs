//! A line with a delay and a rate, as a relay in this process: what all connections send together goes at the rate, and arrives later by half of a
//! round trip; answers come back in the same way.
//!
//! Each end of it is a connection of its own within this machine, so what TCP does over a distance, slow starts and losses, is not in it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Pieces, of which few are on their way at once: what a router would keep.
const PIECE: usize = 32 << 10;
/// A sleep that was too long by less than this is made up for.
const CATCH_UP: Duration = Duration::from_millis(5);

pub struct Line {
    pub address: SocketAddr,
    pub bytes_per_s: f64,
    pub name: String,
}

/// One direction, for all connections.
struct Way {
    bytes_per_s: f64,
    delay: Duration,
    free_at: Mutex<Instant>,
}

impl Way {
    /// Waits until these bytes are on the line; answers when they are at its other end.
    fn pass(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let sent = {
            let mut free_at = self.free_at.lock().unwrap();
            let start = (*free_at).max(now.checked_sub(CATCH_UP).unwrap_or(now));
            *free_at = start + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s);
            *free_at
        };
        if sent > now {
            std::thread::sleep(sent - now);
        }
        sent.max(now) + self.delay
    }
}

impl Line {
    pub fn to(target: SocketAddr, round_trip: Duration, megabits: u32) -> Self {
        let bytes_per_s = f64::from(megabits) * 1e6 / 8.0;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let way = || Arc::new(Way { bytes_per_s, delay: round_trip / 2, free_at: Mutex::new(Instant::now()) });
        let (there, back) = (way(), way());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (there, back) = (there.clone(), back.clone());
                std::thread::spawn(move || {
                    // A connection costs a round trip.
                    std::thread::sleep(round_trip);
                    let Ok(server) = TcpStream::connect(target) else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let (Ok(from_client), Ok(to_client)) = (client.try_clone(), client.try_clone()) else { return };
                    let Ok(to_server) = server.try_clone() else { return };
                    relay(from_client, to_server, there);
                    relay(server, to_client, back);
                });
            }
        });
        Self { address, bytes_per_s, name: format!("{megabits} Mbit/s, {} ms", round_trip.as_millis()) }
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, way: Arc<Way>) {
    // What the line holds in a round trip and more: it is the rate that holds the sender back.
    let (on_the_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        for (at, piece) in arriving {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(read) = from.read(&mut piece) {
            if read == 0 || on_the_way.send((way.pass(read), piece[..read].to_vec())).is_err() {
                break;
            }
        }
    });
}
