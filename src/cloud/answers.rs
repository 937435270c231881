//! How servers in the cloud are asked, and how much of an answer is read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For requests that take no longer than `timeout`. Where they are sent, they stay.
pub fn http_client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(timeout).redirect(reqwest::redirect::Policy::none()).build()
}

/// The body of an answer; none of one that has more than `most` bytes.
pub async fn body_of(mut answer: reqwest::Response, most: usize) -> reqwest::Result<Option<Bytes>> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}
