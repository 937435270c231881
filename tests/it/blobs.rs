//! Objects in the embedded S3 endpoint, through the client that the server uses.

use bytes::Bytes;
use futures_util::TryStreamExt;
use keystone_edge::blobs::{BlobError, Blobs, ObjectKey, PutFacts};
use keystone_edge::config::Secret;
use sha2::{Digest, Sha256};

use crate::harness::{TestObjects, access, sha256_of};

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

fn content(bytes: usize) -> Bytes {
    (0..bytes).map(|i| (i * 7 % 251) as u8).collect()
}

#[tokio::test]
async fn an_object_is_read_back_with_its_facts() {
    let objects = TestObjects::new().await;
    let blobs = &objects.blobs;
    let about =
        PutFacts { content_type: Some("application/octet-stream".to_owned()), metadata: vec![("sha256".to_owned(), "ABCDEF".to_owned())] };
    let key = key("factory/robot 1/ünïcode+%41.mcap");
    let etag = blobs.put(&key, content(1000), &about).await.unwrap();

    let facts = blobs.head(&key).await.unwrap();
    assert_eq!((facts.size, &facts.etag), (1000, &etag));
    assert_eq!(facts.claimed_sha256.as_deref(), Some("abcdef"));
    assert_eq!(facts.content_type, about.content_type);

    let all = content(1000);
    let read = blobs.read_range(&key, 10..20, Some(&etag)).await.unwrap();
    assert_eq!(read, all.slice(10..20));
    let tail = blobs.tail(&key, 8, &facts).await.unwrap();
    assert_eq!(tail, all.slice(992..));
    let long_tail = blobs.tail(&key, 5000, &facts).await.unwrap();
    assert_eq!(long_tail, all);
    let missing = blobs.read_range(&key, 5..5, None).await.unwrap();
    assert!(missing.is_empty());
}

#[tokio::test]
async fn a_large_object_goes_up_in_parts_and_is_hashed_in_ranges() {
    let objects = TestObjects::new().await;
    let blobs = &objects.blobs;
    let key = key("large.mcap");
    let all = content(35 * 1024 * 1024 + 17);
    let sent = blobs.put_from(&key, all.as_ref(), &PutFacts::default()).await.unwrap();
    assert_eq!(sent, all.len() as u64);

    let facts = blobs.head(&key).await.unwrap();
    assert_eq!(sha256_of(blobs, &key, &facts).await.unwrap(), (hex::encode(Sha256::digest(&all)), all.len() as u64));

    let ranges: Vec<Bytes> = blobs.stream(&key, &facts).try_collect().await.unwrap();
    assert!(ranges.iter().all(|range| range.len() <= 8 * 1024 * 1024));
    assert_eq!(ranges.concat(), all);
    blobs.make_durable(&key).await.unwrap();
}

#[tokio::test]
async fn an_empty_object_has_the_hash_of_nothing() {
    let objects = TestObjects::new().await;
    let key = key("empty");
    let about = PutFacts::default();
    objects.blobs.put(&key, Bytes::new(), &about).await.unwrap();
    let facts = objects.blobs.head(&key).await.unwrap();
    assert_eq!(sha256_of(&objects.blobs, &key, &facts).await.unwrap(), (hex::encode(Sha256::digest([])), 0));
}

#[tokio::test]
async fn a_replaced_object_is_noticed_by_every_read() {
    let objects = TestObjects::new().await;
    let blobs = &objects.blobs;
    let key = key("replaced");
    let about = PutFacts::default();
    let seen = blobs.put(&key, content(100), &about).await.unwrap();
    let facts = blobs.head(&key).await.unwrap();
    blobs.put(&key, content(101), &about).await.unwrap();

    let changed = |error: BlobError| assert!(matches!(error, BlobError::Changed(_)), "{error:?}");
    changed(blobs.read_range(&key, 0..10, Some(&seen)).await.unwrap_err());
    changed(blobs.tail(&key, 10, &facts).await.unwrap_err());
    changed(sha256_of(blobs, &key, &facts).await.unwrap_err());
    changed(blobs.is_still(&key, &facts).await.unwrap_err());
    let streamed: Result<Vec<Bytes>, _> = blobs.stream(&key, &facts).try_collect().await;
    changed(streamed.unwrap_err());
}

#[tokio::test]
async fn a_missing_object_is_not_found_and_may_be_deleted() {
    let objects = TestObjects::new().await;
    let blobs = &objects.blobs;
    let key = key("missing");
    let missing = |error: BlobError| assert!(matches!(error, BlobError::NotFound(_)), "{error:?}");
    missing(blobs.head(&key).await.unwrap_err());
    missing(blobs.read_range(&key, 0..1, None).await.unwrap_err());
    missing(blobs.make_durable(&key).await.unwrap_err());
    blobs.delete(&key).await.unwrap();
}

#[tokio::test]
async fn a_signed_link_works_without_credentials_and_only_for_its_object() {
    let objects = TestObjects::new().await;
    let blobs = &objects.blobs;
    let about = PutFacts::default();
    blobs.put(&key("a b.mcap"), content(10), &about).await.unwrap();
    blobs.put(&key("other"), content(10), &about).await.unwrap();
    let ttl = std::time::Duration::from_secs(60);
    let link = blobs.presign_get(&key("a b.mcap"), ttl).await.unwrap();

    let answer = reqwest::get(&link).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.bytes().await.unwrap(), content(10));
    let forged = link.replace("a%20b.mcap", "other");
    assert_ne!(forged, link);
    assert_eq!(reqwest::get(&forged).await.unwrap().status(), 403);
    let bare = link.split('?').next().unwrap();
    assert_eq!(reqwest::get(bare).await.unwrap().status(), 403);
}

#[tokio::test]
async fn wrong_credentials_are_denied() {
    let objects = TestObjects::new().await;
    let mut access = access(&objects.s3);
    access.secret_key = Secret::new("guess");
    let blobs = Blobs::new(access, &objects.settings).unwrap();
    let error = blobs.head(&key("x")).await.unwrap_err();
    assert!(matches!(error, BlobError::Denied(_)), "{error:?}");
    let error = blobs.ensure_bucket().await.unwrap_err();
    assert!(matches!(error, BlobError::Denied(_)), "{error:?}");
}

#[tokio::test]
async fn a_store_that_is_gone_is_unavailable_and_worth_a_retry() {
    let objects = TestObjects::new().await;
    let blobs = objects.blobs.clone();
    objects.s3.stop().await;
    let error = blobs.head(&key("x")).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_missing_bucket_is_created_and_an_existing_one_kept() {
    let objects = TestObjects::new().await;
    let mut settings = objects.settings.clone();
    settings.bucket = "edge-another".to_owned();
    let blobs = Blobs::new(access(&objects.s3), &settings).unwrap();
    blobs.ensure_bucket().await.unwrap();
    let about = PutFacts::default();
    blobs.put(&key("x"), content(1), &about).await.unwrap();
    blobs.ensure_bucket().await.unwrap();
    blobs.head(&key("x")).await.unwrap();
}

/// Sent by hand, since no ordinary client lets such a key through.
#[tokio::test]
async fn a_key_that_leaves_its_bucket_is_refused() {
    let objects = TestObjects::new().await;
    let outside = objects.s3.root().join("outside");
    let ttl = std::time::Duration::from_secs(60);
    let link = objects.blobs.presign_get(&key("x"), ttl).await.unwrap();
    let (_, query) = link.split_once('?').unwrap();
    let bucket = objects.blobs.bucket();
    for path in ["%2e%2e/outside", "a/%2e%2e/%2e%2e/outside", "..%2Foutside", "a%5C..%5Cb"] {
        let address = objects.s3.address();
        let request =
            format!("PUT /{bucket}/{path}?{query} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
        let answer = send_raw(address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(!outside.exists());
    }
}

async fn send_raw(address: std::net::SocketAddr, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
