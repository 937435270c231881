//! Server-sent events as text. Data is JSON on one line.

use bytes::Bytes;

/// Fields in the order in which clients of the device stream have always had them.
pub fn event(name: &str, data: &str, id: Option<i64>) -> Bytes {
    match id {
        Some(id) => format!("event: {name}\ndata: {data}\nid: {id}\n\n").into(),
        None => format!("event: {name}\ndata: {data}\n\n").into(),
    }
}

/// An event without a name, which browsers call a message.
pub fn message(id: i64, data: &str) -> Bytes {
    format!("id: {id}\ndata: {data}\n\n").into()
}

/// What clients do not hear, and proxies do.
pub fn comment() -> Bytes {
    Bytes::from_static(b": keepalive\n\n")
}
