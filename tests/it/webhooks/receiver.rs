//! A receiver of webhooks: keeps what it hears, and answers as the test says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use serde_json::Value;
use tokio::net::TcpListener;

/// What was posted.
#[derive(Clone, Debug)]
pub struct Heard {
    pub path: String,
    pub headers: HeaderMap,
    pub raw: String,
}

impl Heard {
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.raw).expect("JSON")
    }
}

#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    pub wait: Duration,
    /// The body is repeated without an end.
    pub endless: bool,
}

impl Answer {
    pub fn of(status: u16) -> Self {
        Self { status, headers: vec![], body: String::new(), wait: Duration::ZERO, endless: false }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

pub struct Receiver {
    address: std::net::SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    connections: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Answers with a status.
    pub async fn start(answer: impl Fn(&Heard) -> u16 + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", answer).await
    }

    pub async fn start_on(address: &str, answer: impl Fn(&Heard) -> u16 + Send + Sync + 'static) -> Self {
        Self::answering_on(address, move |heard| Answer::of(answer(heard))).await
    }

    pub async fn answering(answer: impl Fn(&Heard) -> Answer + Send + Sync + 'static) -> Self {
        Self::answering_on("127.0.0.1:0", answer).await
    }

    /// Each request has a connection of its own.
    async fn answering_on(address: &str, answer: impl Fn(&Heard) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (heard, connections) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicUsize::new(0)));
        let (kept, answer) = (heard.clone(), Arc::new(answer));
        let routes = axum::Router::new().fallback(move |request: Request| {
            let (kept, answer) = (kept.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let raw = String::from_utf8(to_bytes(body, 1 << 20).await.expect("a body").to_vec()).expect("text");
                let path = parts.uri.path_and_query().expect("a path").to_string();
                let heard = Heard { path, headers: parts.headers, raw };
                let answer = answer(&heard);
                kept.lock().unwrap().push(heard);
                tokio::time::sleep(answer.wait).await;
                let mut response = Response::builder().status(answer.status).header("connection", "close");
                for (name, value) in &answer.headers {
                    response = response.header(*name, value);
                }
                let body = match answer.endless {
                    true => Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(answer.body.clone()))),
                    false => Body::from(answer.body),
                };
                response.body(body).expect("a response")
            }
        });
        let counted = connections.clone();
        let listener = axum::serve::ListenerExt::tap_io(listener, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("it serves");
        });
        Self { address, heard, connections, serving }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub fn bodies(&self) -> Vec<Value> {
        self.heard().iter().map(Heard::body).collect()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
