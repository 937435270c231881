//! A sink that looks like an S3 server: it takes what it is sent as fast as a machine can, and keeps none of it. In a process of its own.
//!
//! It believes the checksums that it is told of, and tells them when it is asked; it checks no signature. What arrived is counted, byte by byte.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Set for the process that is the sink.
const ROLE: &str = "KEYSTONE_BENCH_SINK";
/// What is read of a body at once.
const PIECE: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Paths of its own.
const COUNTED: &str = "/-counted";
const FORGET: &str = "/-forget";

/// What arrived since it was told to forget.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    pub bytes: u64,
    pub requests: u64,
    pub objects: u64,
    /// Seconds from the first request that writes until the last answer.
    pub took: f64,
}

/// What is known of an object, or of a part.
#[derive(Clone, Default)]
struct Known {
    bytes: u64,
    etag: String,
    sha256: Option<String>,
}

#[derive(Default)]
struct Times {
    began: Option<Instant>,
    ended: Option<Instant>,
}

#[derive(Default)]
struct State {
    bytes: AtomicU64,
    requests: AtomicU64,
    next_upload: AtomicU64,
    times: Mutex<Times>,
    objects: Mutex<HashMap<String, Known>>,
    uploads: Mutex<HashMap<String, BTreeMap<u32, Known>>>,
}

/// Whether this process is the sink; then it ends only with its standard input.
pub fn is_the_sink() -> bool {
    if std::env::var_os(ROLE).is_none() {
        return false;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        let state = Arc::new(State::default());
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            std::thread::spawn(move || serve(stream, &state));
        }
    });
    let _ = std::io::stdin().read_to_end(&mut vec![]);
    true
}

struct Asked {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: HashMap<String, String>,
}

impl Asked {
    fn of(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (name.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        let query = query.split('&').filter(|text| !text.is_empty()).map(pair).collect();
        Some(Self { method, path: path.to_owned(), query, headers: headers.collect() })
    }

    fn is(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).cloned()
    }

    /// As it is told: an entity tag of MD5 where there is one.
    fn known(&self, bytes: u64) -> Known {
        let md5 = self.header("content-md5").and_then(|md5| STANDARD.decode(md5).ok());
        Known { bytes, etag: md5.map_or("believed-0".to_owned(), hex::encode), sha256: self.header("x-amz-checksum-sha256") }
    }
}

struct Answered {
    status: &'static str,
    headers: String,
    body: String,
}

fn ok(headers: String, body: String) -> Answered {
    Answered { status: "200 OK", headers, body }
}

fn tags(known: &Known) -> String {
    let sha256 = known.sha256.as_ref().map(|sum| format!("x-amz-checksum-sha256: {sum}\r\n")).unwrap_or_default();
    format!("ETag: \"{}\"\r\n{sha256}", known.etag)
}

fn serve(mut stream: TcpStream, state: &State) {
    let _ = stream.set_nodelay(true);
    let (mut buffer, mut filled) = (vec![0; PIECE], 0);
    loop {
        let end = loop {
            if let Some(at) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if filled > HEAD_BYTES_MAX {
                return;
            }
            match stream.read(&mut buffer[filled..]) {
                Ok(read) if read > 0 => filled += read,
                _ => return,
            }
        };
        let Some(asked) = Asked::of(&String::from_utf8_lossy(&buffer[..end])) else { return };
        let writes = matches!(asked.method.as_str(), "PUT" | "POST") && !asked.path.starts_with("/-");
        if writes {
            state.times.lock().unwrap().began.get_or_insert_with(Instant::now);
        }
        if asked.headers.contains_key("expect") && stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
            return;
        }
        let announced: u64 = asked.header("content-length").and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        let (mut left, here) = (announced, filled - end - 4);
        // Only documents are looked at; of content it is enough to know how much there is.
        let wanted = asked.method == "POST";
        let first = here.min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut body = if wanted { buffer[end + 4..end + 4 + first].to_vec() } else { vec![] };
        state.bytes.fetch_add(if wanted { 0 } else { first as u64 }, Ordering::Relaxed);
        left -= first as u64;
        let rest = here - first;
        buffer.copy_within(end + 4 + first..end + 4 + here, 0);
        filled = rest;
        while left > 0 {
            let most = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
            match stream.read(&mut buffer[..most]) {
                Ok(read) if read > 0 => {
                    left -= read as u64;
                    if wanted {
                        body.extend_from_slice(&buffer[..read]);
                    } else {
                        state.bytes.fetch_add(read as u64, Ordering::Relaxed);
                    }
                }
                _ => return,
            }
        }
        let answered = answer(&asked, announced, state);
        let length = if asked.method == "HEAD" { String::new() } else { format!("Content-Length: {}\r\n", answered.body.len()) };
        let text = format!("HTTP/1.1 {}\r\n{}{length}\r\n{}", answered.status, answered.headers, answered.body);
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
        if !asked.path.starts_with("/-") {
            state.requests.fetch_add(1, Ordering::Relaxed);
            state.times.lock().unwrap().ended = Some(Instant::now());
        }
    }
}

fn answer(asked: &Asked, bytes: u64, state: &State) -> Answered {
    let is_bucket = asked.path.trim_matches('/').split_once('/').is_none();
    match (asked.method.as_str(), asked.is("uploadId")) {
        (_, _) if asked.path == COUNTED => ok(String::new(), counted(state)),
        (_, _) if asked.path == FORGET => {
            state.bytes.store(0, Ordering::Relaxed);
            state.requests.store(0, Ordering::Relaxed);
            *state.times.lock().unwrap() = Times::default();
            state.objects.lock().unwrap().clear();
            state.uploads.lock().unwrap().clear();
            ok(String::new(), String::new())
        }
        ("POST", None) if asked.is("uploads").is_some() => {
            let id = format!("upload-{}", state.next_upload.fetch_add(1, Ordering::Relaxed));
            state.uploads.lock().unwrap().insert(id.clone(), BTreeMap::new());
            let body = format!(
                "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            );
            ok(String::new(), body)
        }
        ("PUT", Some(id)) => {
            let (known, number) = (asked.known(bytes), asked.is("partNumber").and_then(|text| text.parse().ok()).unwrap_or(0));
            let headers = tags(&known);
            state.uploads.lock().unwrap().entry(id.to_owned()).or_default().insert(number, known);
            ok(headers, String::new())
        }
        ("POST", Some(id)) => {
            let parts = state.uploads.lock().unwrap().remove(id).unwrap_or_default();
            let known = joined(&parts);
            let body = format!(
                "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>\"{}\"</ETag></CompleteMultipartUploadResult>",
                known.etag
            );
            state.objects.lock().unwrap().insert(asked.path.clone(), known);
            ok(String::new(), body)
        }
        ("GET", Some(id)) => {
            let uploads = state.uploads.lock().unwrap();
            let part = |(number, part): (&u32, &Known)| {
                format!("<Part><PartNumber>{number}</PartNumber><Size>{}</Size><ETag>\"{}\"</ETag></Part>", part.bytes, part.etag)
            };
            let parts: String = uploads.get(id).into_iter().flatten().map(part).collect();
            ok(String::new(), format!("<ListPartsResult><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>"))
        }
        ("GET", None) if asked.is("uploads").is_some() => {
            ok(String::new(), "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>".to_owned())
        }
        ("GET", None) if is_bucket => {
            let body = "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>";
            ok(String::new(), body.to_owned())
        }
        ("PUT", None) if is_bucket => ok(String::new(), String::new()),
        ("PUT", None) => {
            let known = asked.known(bytes);
            let headers = tags(&known);
            state.objects.lock().unwrap().insert(asked.path.clone(), known);
            ok(headers, String::new())
        }
        ("HEAD", None) => match state.objects.lock().unwrap().get(&asked.path) {
            Some(known) => {
                let modified = "Last-Modified: Fri, 20 Nov 2026 00:00:00 GMT\r\n";
                ok(format!("{}{modified}Content-Length: {}\r\n", tags(known), known.bytes), String::new())
            }
            None => Answered { status: "404 Not Found", headers: "Content-Length: 0\r\n".to_owned(), body: String::new() },
        },
        ("DELETE", _) => ok(String::new(), String::new()),
        _ => {
            let body = "<Error><Code>NoSuchKey</Code></Error>".to_owned();
            Answered { status: "404 Not Found", headers: String::new(), body }
        }
    }
}

/// The object that parts make: as S3 makes checksums and entity tags of it.
fn joined(parts: &BTreeMap<u32, Known>) -> Known {
    let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
    let (mut with_sha256, mut with_md5) = (true, true);
    for part in parts.values() {
        match part.sha256.as_ref().and_then(|sum| STANDARD.decode(sum).ok()) {
            Some(sum) => sha256.update(sum),
            None => with_sha256 = false,
        }
        match hex::decode(&part.etag) {
            Ok(tag) => md5.update(tag),
            Err(_) => with_md5 = false,
        }
    }
    let many = parts.len();
    let etag = if with_md5 { hex::encode(md5.finalize()) } else { "believed".to_owned() };
    Known {
        bytes: parts.values().map(|part| part.bytes).sum(),
        etag: format!("{etag}-{many}"),
        sha256: with_sha256.then(|| format!("{}-{many}", STANDARD.encode(sha256.finalize()))),
    }
}

fn counted(state: &State) -> String {
    let times = state.times.lock().unwrap();
    let took = times.began.zip(times.ended).map_or(0.0, |(began, ended)| (ended.saturating_duration_since(began)).as_secs_f64());
    let counted = Counted {
        bytes: state.bytes.load(Ordering::Relaxed),
        requests: state.requests.load(Ordering::Relaxed),
        objects: state.objects.lock().unwrap().len() as u64,
        took,
    };
    serde_json::to_string(&counted).expect("a document")
}

/// The sink in its process, as the benchmark holds it.
pub struct Sink {
    pub address: SocketAddr,
    child: Child,
    http: reqwest::Client,
}

impl Sink {
    pub fn start() -> Self {
        let program = std::env::current_exe().expect("our program");
        let mut child = Command::new(program).env(ROLE, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the sink starts");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("its output");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("its address");
        Self { address: line.trim().parse().expect("an address"), child, http: reqwest::Client::new() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub async fn counted(&self) -> Counted {
        self.http.get(format!("http://{}{COUNTED}", self.address)).send().await.expect("an answer").json().await.expect("counts")
    }

    pub async fn forget(&self) {
        self.http.get(format!("http://{}{FORGET}", self.address)).send().await.expect("an answer");
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What plain streams of so many bytes together get through to a sink: GB a second.
pub fn plain(to: SocketAddr, streams: usize, bytes: u64) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..streams {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(to).expect("a connection");
                let mut left = bytes / streams as u64;
                let head = format!("PUT /plain/stream HTTP/1.1\r\nhost: sink\r\ncontent-length: {left}\r\n\r\n");
                stream.write_all(head.as_bytes()).expect("it is sent");
                let piece = vec![7; PIECE];
                while left > 0 {
                    let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                    stream.write_all(&piece[..most]).expect("it is sent");
                    left -= most as u64;
                }
                let read = stream.read(&mut [0; 1024]).expect("an answer");
                assert!(read > 0, "the sink answers");
            });
        }
    });
    bytes as f64 / 1e9 / began.elapsed().as_secs_f64()
}
