//! The device's end of a socket, byte by byte, so that a test says exactly what is sent.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Socket {
    write: Arc<Mutex<OwnedWriteHalf>>,
    frames: mpsc::UnboundedReceiver<Value>,
    /// Every text frame of the server so far.
    pub heard: Vec<Value>,
    in_message: bool,
}

impl Socket {
    /// Shakes hands as the devices do: no `Origin`, no subprotocol, no compression.
    pub async fn connect(address: &str, path: &str) -> Self {
        let handshake = Self::try_connect(address, path, "").await;
        handshake.unwrap_or_else(|head| panic!("the handshake was answered with {head}"))
    }

    /// With header lines of one's own; refused, it answers the head of the answer.
    pub async fn try_connect(address: &str, path: &str, headers: &str) -> Result<Self, String> {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if !head.starts_with("HTTP/1.1 101") {
            return Err(head);
        }
        let (read, write) = stream.into_split();
        let write = Arc::new(Mutex::new(write));
        let (sender, frames) = mpsc::unbounded_channel();
        tokio::spawn(receive(read, write.clone(), sender));
        Ok(Self { write, frames, heard: vec![], in_message: false })
    }

    pub async fn send(&self, message: &Value) {
        write_frame(&self.write, 1, message.to_string().as_bytes()).await.expect("a frame leaves");
    }

    pub async fn ping(&self) {
        write_frame(&self.write, 9, b"").await.expect("a frame leaves");
    }

    /// One message in frames of these contents, whatever they are.
    pub async fn send_pieces(&self, pieces: &[&[u8]]) {
        self.try_send_pieces(pieces).await.expect("the frames leave");
    }

    /// The same to a server that may have closed.
    pub async fn try_send_pieces(&self, pieces: &[&[u8]]) -> std::io::Result<()> {
        let last = pieces.len() - 1;
        for (n, piece) in pieces.iter().enumerate() {
            write_piece(&self.write, if n == 0 { 1 } else { 0 }, n == last, piece).await?;
        }
        Ok(())
    }

    /// The beginning of a message, again and again.
    pub async fn try_send_piece(&mut self, last: bool, piece: &[u8]) -> std::io::Result<()> {
        let opcode = if std::mem::replace(&mut self.in_message, !last) { 0 } else { 1 };
        write_piece(&self.write, opcode, last, piece).await
    }

    /// The next frame, whenever it comes; none at the end.
    pub async fn next(&mut self) -> Option<Value> {
        self.frames.recv().await
    }

    /// The next frame that is asked for; others are kept in `heard`.
    pub async fn wait_for(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.frames.recv()).await;
            let frame = frame.unwrap_or_else(|_| panic!("waited in vain for {what}; heard {:?}", self.heard)).expect("an open socket");
            self.heard.push(frame.clone());
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Whether the server ends the connection within some time; what it says until then is kept.
    pub async fn closed_within(&mut self, patience: Duration) -> bool {
        let until_closed = async {
            while let Some(frame) = self.frames.recv().await {
                self.heard.push(frame);
            }
        };
        tokio::time::timeout(patience, until_closed).await.is_ok()
    }

    /// As a program does that ends in order.
    pub async fn close(&self, code: u16) {
        write_frame(&self.write, 8, &code.to_be_bytes()).await.expect("a frame leaves");
    }

    /// As a process does that ends: no close frame.
    pub async fn hang_up(&self) {
        self.write.lock().await.shutdown().await.expect("the end of the connection");
    }

    pub fn is_open(&self) -> bool {
        !self.frames.is_closed()
    }

    /// What has arrived until now.
    pub fn drain(&mut self) -> &[Value] {
        while let Ok(frame) = self.frames.try_recv() {
            self.heard.push(frame);
        }
        &self.heard
    }
}

async fn receive(mut read: OwnedReadHalf, write: Arc<Mutex<OwnedWriteHalf>>, frames: mpsc::UnboundedSender<Value>) {
    while let Ok(first) = read.read_u8().await {
        let Ok(second) = read.read_u8().await else { return };
        let length = match second & 0x7f {
            126 => read.read_u16().await.map(u64::from),
            127 => read.read_u64().await,
            short => Ok(u64::from(short)),
        };
        let Ok(length) = length else { return };
        let mut payload = vec![0; usize::try_from(length).expect("a frame that fits")];
        if read.read_exact(&mut payload).await.is_err() {
            return;
        }
        match first & 0x0f {
            1 => {
                let frame = serde_json::from_slice(&payload).expect("the server sends JSON");
                if frames.send(frame).is_err() {
                    return;
                }
            }
            8 => return,
            10 => {
                // Nobody may be listening any more; the next read ends this.
                let _ = frames.send(Value::String("pong".to_owned()));
            }
            9 => {
                let _ = write_frame(&write, 10, &payload).await;
            }
            _ => {}
        }
    }
}

/// One whole frame, masked with zeros, which is a mask.
async fn write_frame(write: &Mutex<OwnedWriteHalf>, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
    write_piece(write, opcode, true, payload).await
}

async fn write_piece(write: &Mutex<OwnedWriteHalf>, opcode: u8, last: bool, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = vec![if last { 0x80 | opcode } else { opcode }];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("below 126")),
        middle @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(middle).expect("below 65536").to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    write.lock().await.write_all(&frame).await
}
