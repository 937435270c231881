//! A relay in front of Postgres: it counts how often a client waits for it, and can be half dead in the ways that
//! balancers and networks are.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct State {
    /// How often a client spoke after all it had asked was answered.
    turns: AtomicU64,
    stopped: AtomicBool,
    links: Mutex<Vec<Link>>,
    /// What becomes of new connections, one of the constants below.
    newcomers: AtomicU8,
    /// After the next commit was answered, the way is cut and stays so.
    cut_after_commit: AtomicBool,
    /// How much later than usual answers arrive.
    delay_ms: AtomicU64,
}

/// New connections are relayed, accepted and never answered, or refused.
const PASS: u8 = 0;
const NEVER_ANSWER: u8 = 1;
const REFUSE: u8 = 2;

/// Both ends of a connection. The clones outlive the threads that relay between them.
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// What comes from the client is taken and forgotten, and nothing comes back.
    swallowed: Arc<AtomicBool>,
}

const DISTANCE: Duration = Duration::from_millis(5);

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
            let mut unanswered = vec![];
            for client in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(client) = client else { continue };
                match shared.newcomers.load(Ordering::SeqCst) {
                    PASS => {
                        if let Ok(server) = TcpStream::connect(target) {
                            relay(&shared, client, server);
                        }
                    }
                    NEVER_ANSWER => unanswered.push(client),
                    _ => drop(client),
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
        self.state.cut();
    }

    /// The sessions of all connections end, and their clients are not told: what they send is taken and never
    /// answered, as by a balancer that forgot them. New connections are relayed.
    pub fn swallow_existing(&self) {
        for link in self.state.links.lock().expect("the list").iter() {
            link.swallowed.store(true, Ordering::SeqCst);
            let _gone_already = link.server.shutdown(Shutdown::Both);
        }
    }

    /// Takes new connections and never answers them, until [`Self::pass_new`].
    pub fn never_answer_new(&self) {
        self.state.newcomers.store(NEVER_ANSWER, Ordering::SeqCst);
    }

    /// Nothing is reached any more: what exists is broken and what comes is refused, until [`Self::pass_new`].
    pub fn refuse_all(&self) {
        self.state.newcomers.store(REFUSE, Ordering::SeqCst);
        self.cut();
    }

    /// What exists and what comes is taken and never answered.
    pub fn swallow_all(&self) {
        self.never_answer_new();
        self.swallow_existing();
    }

    pub fn pass_new(&self) {
        self.state.cut_after_commit.store(false, Ordering::SeqCst);
        self.state.newcomers.store(PASS, Ordering::SeqCst);
    }

    /// Answers arrive this much later than usual from now on.
    pub fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    /// As soon as a commit has been answered, every connection breaks and new ones are refused, until [`Self::pass_new`].
    pub fn cut_after_commit(&self) {
        self.state.cut_after_commit.store(true, Ordering::SeqCst);
    }
}

impl State {
    fn cut(&self) {
        self.cut_but(None);
    }

    /// Breaks every connection; the one of this client at the server's side only, so that it can be told one thing more.
    fn cut_but(&self, client: Option<SocketAddr>) {
        for link in self.links.lock().expect("the list").drain(..) {
            let _gone_already = link.server.shutdown(Shutdown::Both);
            if client.is_none() || link.client.peer_addr().ok() != client {
                let _gone_already = link.client.shutdown(Shutdown::Both);
            }
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

/// Finds the messages in what one side says: a type, a length that counts itself, and that much.
#[derive(Default)]
struct Messages {
    /// The type of the last one.
    last: u8,
    /// Of a message that has begun.
    head: Vec<u8>,
    body_left: usize,
}

impl Messages {
    /// How many messages of these types begin in the bytes that follow.
    fn count(&mut self, mut bytes: &[u8], types: &[u8]) -> i64 {
        let mut found = 0;
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let taken = self.body_left.min(bytes.len());
                self.body_left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let [kind, a, b, c, d] = *self.head.as_slice() {
                self.last = kind;
                found += i64::from(types.contains(&kind));
                self.body_left = u32::from_be_bytes([a, b, c, d]) as usize - 4;
                self.head.clear();
            }
        }
        found
    }
}

/// Parse, Bind, Describe, Execute, Close, Flush and the data of a copy: the request goes on.
const REQUEST_PARTS: &[u8] = b"PBDECHdcf";
/// Sync and a simple query.
const REQUEST_ENDS: &[u8] = b"SQ";

/// What is asked and not answered yet. A request ends with Sync or is a simple query, and its answer ends with
/// ReadyForQuery, however the bytes of several requests mix with those of their answers.
struct Conversation {
    client: Messages,
    server: Messages,
    unanswered: i64,
    /// The last thing that was asked is a commit.
    commits: bool,
}

impl Conversation {
    /// What a client says first has no type. It is a request like others: its answer ends with ReadyForQuery too.
    fn new() -> Self {
        let client = Messages { head: vec![0], ..Messages::default() };
        Self { client, server: Messages::default(), unanswered: 1, commits: false }
    }

    /// Whether the client speaks after it had been answered.
    fn client_says(&mut self, bytes: &[u8]) -> bool {
        let begun = REQUEST_PARTS.contains(&self.client.last) || self.client.body_left > 0 || !self.client.head.is_empty();
        let turn = self.unanswered == 0 && !begun;
        self.unanswered += self.client.count(bytes, REQUEST_ENDS);
        self.commits = bytes.ends_with(b"commit\0");
        turn
    }

    fn server_says(&mut self, bytes: &[u8]) {
        self.unanswered -= self.server.count(bytes, b"Z");
    }
}

fn relay(state: &Arc<State>, client: TcpStream, server: TcpStream) {
    client.set_nodelay(true).expect("an option");
    server.set_nodelay(true).expect("an option");
    let clone = |stream: &TcpStream| stream.try_clone().expect("a clone");
    let swallowed = Arc::new(AtomicBool::new(false));
    let link = Link { client: clone(&client), server: clone(&server), swallowed: swallowed.clone() };
    state.links.lock().expect("the list").push(link);
    let conversation = Arc::new(Mutex::new(Conversation::new()));
    for (from_client, mut from, mut to) in [(true, clone(&client), clone(&server)), (false, server, client)] {
        let (state, conversation, swallowed) = (state.clone(), conversation.clone(), swallowed.clone());
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let bytes = &buffer[..read];
                if swallowed.load(Ordering::SeqCst) {
                    continue;
                }
                if !from_client {
                    // A server that is some way off: what the client sends at once arrives before its answer.
                    std::thread::sleep(DISTANCE + Duration::from_millis(state.delay_ms.load(Ordering::SeqCst)));
                }
                let committed = {
                    let mut conversation = conversation.lock().expect("the conversation");
                    if !from_client {
                        conversation.server_says(bytes);
                    } else if conversation.client_says(bytes) {
                        state.turns.fetch_add(1, Ordering::SeqCst);
                    }
                    !from_client && conversation.commits && conversation.unanswered == 0
                };
                if committed && state.cut_after_commit.swap(false, Ordering::SeqCst) {
                    // All else is cut before the client hears of the commit: it may read it back at once.
                    state.newcomers.store(REFUSE, Ordering::SeqCst);
                    state.cut_but(to.peer_addr().ok());
                    let _gone_already = to.write_all(bytes);
                    break;
                }
                if to.write_all(bytes).is_err() && !swallowed.load(Ordering::SeqCst) {
                    break;
                }
            }
            if swallowed.load(Ordering::SeqCst) && !from_client {
                return;
            }
            let _gone_already = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}
