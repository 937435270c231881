//! The embedded object store, as S3 clients see it and as its files lie on disk.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keystone_edge::config::Secret;
use keystone_edge::embedded::s3::guard::{Delete, Deleting, Guard, Refusal, RefusalKind, Replace, Replacing};
use keystone_edge::embedded::s3::{Credentials, EmbeddedS3, Options};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::harness::s3::{RawS3, encode};
use crate::harness::{temp_folder, until};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MIB: usize = 1 << 20;

struct Shop {
    s3: EmbeddedS3,
    client: RawS3,
    folder: TempDir,
}

fn options(upload_expiry: Duration) -> Options {
    let credentials = Credentials { access_key: "test".to_owned(), secret_key: Secret::new("test-secret") };
    Options::new(credentials, "edge-f", upload_expiry)
}

impl Shop {
    async fn open() -> Self {
        Self::with(temp_folder(), options(DAY)).await
    }

    async fn with(folder: TempDir, options: Options) -> Self {
        let s3 = EmbeddedS3::start(&folder.path().join("objects"), ([127, 0, 0, 1], 0).into(), options).await.expect("an endpoint");
        let client = RawS3::of(&s3);
        Self { s3, client, folder }
    }

    async fn closed(self) -> TempDir {
        self.s3.stop().await;
        self.folder
    }

    async fn put(&self, key: &str, content: impl Into<Bytes>) -> String {
        let put = self.client.put(&format!("/edge-f/{key}"), &[], content).await;
        assert_eq!(put.status, 200, "{key}: {}", put.text());
        put.etag().to_owned()
    }

    async fn content(&self, key: &str) -> Option<Bytes> {
        let got = self.client.get(&format!("/edge-f/{key}"), &[]).await;
        match got.status {
            200 => Some(got.body),
            404 => None,
            _ => panic!("{key}: {} {}", got.status, got.text()),
        }
    }

    fn root(&self) -> PathBuf {
        self.s3.root().to_owned()
    }
}

fn content(bytes: usize) -> Bytes {
    (0..bytes).map(|i| (i * 7 % 251) as u8).collect()
}

fn md5(content: &[u8]) -> String {
    use s3s::crypto::{Checksum, Md5};
    hex::encode(Md5::checksum(content))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// Keys that S3 allows and that file systems, links, XML or people stumble over.
pub fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "plain.mcap",
        "工厂 Shanghai/AB-F0001-T0001-000001/2026-11-20/task.mcap",
        "100%41/a%2Fb.mcap",
        "%",
        "a?b=c&d#e.mcap",
        "a+b c.mcap",
        "\"quoted\" 'and' <tags> & more.json",
        ".hidden/.file",
        "..x/x..",
        "~tilde/$dollar;semi:colon@at,comma!",
        "bucket-edge-f/edge-f/x",
        ".keystone/incoming/x",
        "ünïcode/🤖",
        "upper/UPPER",
    ]
    .map(str::to_owned)
    .into();
    // As long as one name in a folder may be, longer, and as long as a key may be.
    keys.push("n".repeat(255));
    keys.push(format!("a/{}/b", "n".repeat(256)));
    keys.push("工".repeat(100));
    keys.push(format!("{}x", "k".repeat(1023)));
    keys.push(format!("{}.mcap", ["d".repeat(250), "e".repeat(250), "f".repeat(250), "g".repeat(250)].join("/")));
    keys
}

#[tokio::test]
async fn every_key_that_s3_allows_works() {
    let shop = Shop::open().await;
    for (nth, key) in odd_keys().iter().enumerate() {
        let path = format!("/edge-f/{key}");
        let bytes = content(100 + nth);
        let put = shop.client.put(&path, &[("x-amz-meta-checksum-sha256", "ab")], bytes.clone()).await;
        assert_eq!((put.status, put.etag()), (200, md5(&bytes).as_str()), "{key}: {}", put.text());
        let head = shop.client.head(&path, &[]).await;
        assert_eq!((head.status, head.header("content-length")), (200, bytes.len().to_string().as_str()), "{key}");
        assert_eq!(head.header("x-amz-meta-checksum-sha256"), "ab", "{key}");
        let part = shop.client.get(&path, &[("range", "bytes=10-19")]).await;
        assert_eq!((part.status, part.body), (206, bytes.slice(10..20)), "{key}");
        let copy = shop.client.put("/edge-f/copied", &[("x-amz-copy-source", &encode(&path, "/"))], "").await;
        assert_eq!(copy.status, 200, "{key}: {}", copy.text());
        assert_eq!(shop.content("copied").await.unwrap(), bytes, "{key}");
    }
    shop.client.delete("/edge-f/copied").await;

    let listed = shop.client.send("GET", "/edge-f", &[("list-type", "2"), ("encoding-type", "url")], &[], "").await;
    let mut expected = odd_keys();
    expected.sort_unstable();
    let expected: Vec<_> = expected.iter().map(|key| encode(key, "/")).collect();
    assert_eq!(listed.elements("Key"), expected);

    // In parts, over what is there.
    for key in odd_keys() {
        let path = format!("/edge-f/{key}");
        let upload = shop.client.create_upload(&path, &[]).await;
        let part = shop.client.put_part(&path, &upload, 1, "in parts").await;
        let done = shop.client.complete(&path, &upload, &[(1, part.etag())]).await;
        assert_eq!(done.status, 200, "{key}: {}", done.text());
        assert_eq!(shop.content(&key).await.unwrap(), "in parts", "{key}");
    }
    for key in odd_keys() {
        assert_eq!(shop.client.delete(&format!("/edge-f/{key}")).await.status, 204, "{key}");
        assert_eq!(shop.content(&key).await, None, "{key}");
    }
    // Nothing is left but the notes of what became of the uploads.
    assert!(files_below(&shop.root()).iter().all(|file| file.ends_with("done.json")));
    assert_eq!(shop.client.delete("/edge-f").await.status, 204);
}

#[tokio::test]
async fn a_key_that_cannot_be_is_refused_with_the_reason() {
    let shop = Shop::open().await;
    for (key, code) in [("a//b", "InvalidArgument"), ("a\\b", "InvalidArgument"), (&"k".repeat(1025), "KeyTooLongError")] {
        let put = shop.client.put(&format!("/edge-f/{key}"), &[], "x").await;
        assert_eq!((put.status, put.code().as_str()), (400, code), "{key:?}");
    }
    let deleted = shop
        .client
        .send(
            "POST",
            "/edge-f",
            &[("delete", "")],
            &[],
            "<Delete><Object><Key>../outside</Key></Object><Object><Key>missing</Key></Object></Delete>",
        )
        .await;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    assert!(deleted.element("Error").unwrap().contains("InvalidArgument"), "{}", deleted.text());
    assert_eq!(deleted.elements("Deleted").len(), 1);
}

#[tokio::test]
async fn an_object_may_have_the_name_of_a_folder() {
    let shop = Shop::open().await;
    let keys = ["a", "a/b", "a/b/c", "d/e/f", "d/e", "d", "marker/", "marker/x"];
    for key in keys {
        shop.put(key, key).await;
    }
    for key in keys {
        assert_eq!(shop.content(key).await.unwrap(), key);
    }
    let listed = shop.client.send("GET", "/edge-f", &[("list-type", "2")], &[], "").await;
    assert_eq!(listed.elements("Key"), ["a", "a/b", "a/b/c", "d", "d/e", "d/e/f", "marker/", "marker/x"]);
    let folded = shop.client.send("GET", "/edge-f", &[("list-type", "2"), ("delimiter", "/")], &[], "").await;
    assert_eq!(folded.elements("Key"), ["a", "d"]);
    let prefixes: Vec<_> =
        folded.elements("CommonPrefixes").iter().map(|prefix| prefix.replace("<Prefix>", "").replace("</Prefix>", "")).collect();
    assert_eq!(prefixes, ["a/", "d/", "marker/"]);
    // What was beside another object stays itself when that goes, and when it is written again.
    shop.client.delete("/edge-f/a").await;
    assert_eq!(shop.content("a/b").await.unwrap(), "a/b");
    shop.put("a/b", "again").await;
    shop.put("a", "back").await;
    assert_eq!((shop.content("a/b").await.unwrap(), shop.content("a").await.unwrap()), ("again".into(), "back".into()));
    for key in keys {
        shop.client.delete(&format!("/edge-f/{key}")).await;
    }
    assert_eq!(files_below(&shop.root()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn objects_of_version_0_1_stay_what_they_are() {
    let folder = temp_folder();
    let root = folder.path().join("objects");
    std::fs::create_dir_all(root.join("edge-f")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(&root).unwrap());
    service.set_auth(s3s::auth::SimpleAuth::from_single("test", "test-secret"));
    let service = service.build();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    let old = RawS3::new(address, "test", "test-secret");
    let (small, sum) = (content(1000), STANDARD.encode(Sha256::digest(content(1000))));
    let headers = [("x-amz-meta-checksum-sha256", "abcd"), ("content-type", "application/octet-stream"), ("x-amz-checksum-sha256", &sum)];
    let put = old.put("/edge-f/工厂 1/device/a.mcap", &headers, small.clone()).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let upload = old.create_upload("/edge-f/large.mcap", &[("x-amz-meta-of", "the whole")]).await;
    let (first, last) = (content(5 * MIB), content(10));
    let tags = [
        old.put_part("/edge-f/large.mcap", &upload, 1, first.clone()).await,
        old.put_part("/edge-f/large.mcap", &upload, 2, last.clone()).await,
    ];
    let done = old.complete("/edge-f/large.mcap", &upload, &[(1, tags[0].etag()), (2, tags[1].etag())]).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let large_tag = old.head("/edge-f/large.mcap", &[]).await.etag().to_owned();
    assert!(large_tag.ends_with("-2"), "{large_tag}");
    // An upload that its robot never finished.
    let abandoned = old.create_upload("/edge-f/cut.mcap", &[]).await;
    old.put_part("/edge-f/cut.mcap", &abandoned, 1, content(MIB)).await;
    server.abort();
    let left = |root: &Path| {
        std::fs::read_dir(root).unwrap().filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains(&abandoned)).count()
    };
    assert_eq!(left(&root), 3);

    let shop = Shop::with(folder, options(DAY)).await;
    let head = shop.client.head("/edge-f/工厂 1/device/a.mcap", &[]).await;
    assert_eq!((head.status, head.etag(), head.header("content-length")), (200, md5(&small).as_str(), "1000"));
    assert_eq!((head.header("x-amz-meta-checksum-sha256"), head.header("content-type")), ("abcd", "application/octet-stream"));
    assert_eq!(head.header("x-amz-checksum-sha256"), sum);
    assert_eq!(shop.content("工厂 1/device/a.mcap").await.unwrap(), small);
    let head = shop.client.head("/edge-f/large.mcap", &[("if-match", &format!("\"{large_tag}\""))]).await;
    assert_eq!((head.status, head.etag(), head.header("x-amz-meta-of")), (200, large_tag.as_str(), "the whole"));
    assert_eq!(shop.content("large.mcap").await.unwrap(), [first, last].concat());
    let listed = shop.client.send("GET", "/edge-f", &[], &[], "").await;
    assert_eq!(listed.elements("Key"), ["large.mcap", "工厂 1/device/a.mcap"]);
    assert_eq!(left(&shop.root()), 3);
    // Written again, nothing of the old facts is left.
    let tag = shop.put("large.mcap", "new").await;
    let head = shop.client.head("/edge-f/large.mcap", &[]).await;
    assert_eq!((head.etag(), head.header("x-amz-meta-of")), (tag.as_str(), ""));

    // What was abandoned ends here, too.
    let shop = Shop::with(shop.closed().await, options(Duration::from_secs(1))).await;
    until("the parts of the old upload are gone", async || left(&shop.root()) == 0).await;
    assert_eq!(shop.content("工厂 1/device/a.mcap").await.unwrap(), small);
}

#[tokio::test]
async fn an_abandoned_upload_ends_also_over_a_restart() {
    let shop = Shop::open().await;
    let upload = shop.client.create_upload("/edge-f/cut.mcap", &[]).await;
    for number in 1..=3 {
        assert_eq!(shop.client.put_part("/edge-f/cut.mcap", &upload, number, content(2 * MIB)).await.status, 200);
    }
    let listed = shop.client.send("GET", "/edge-f", &[("uploads", "")], &[], "").await;
    assert_eq!(
        (listed.elements("Key"), listed.elements("UploadId")),
        (vec!["cut.mcap".to_owned()], vec![upload.clone()]),
        "{}",
        listed.text()
    );
    let folder = shop.closed().await;

    // Over a restart it goes on …
    let shop = Shop::with(folder, options(DAY)).await;
    let parts = shop.client.send("GET", "/edge-f/cut.mcap", &[("uploadId", &upload)], &[], "").await;
    assert_eq!(parts.elements("PartNumber"), ["1", "2", "3"]);
    assert_eq!(parts.elements("Size"), vec![(2 * MIB).to_string(); 3]);
    // … until nobody has continued it for its time.
    let shop = Shop::with(shop.closed().await, options(Duration::from_secs(1))).await;
    until("the parts are gone", async || files_below(&shop.root()).is_empty()).await;
    let late = shop.client.put_part("/edge-f/cut.mcap", &upload, 4, "x").await;
    assert_eq!((late.status, late.code().as_str()), (404, "NoSuchUpload"));
    let listed = shop.client.send("GET", "/edge-f", &[("uploads", "")], &[], "").await;
    assert_eq!(listed.elements("Upload").len(), 0);
}

#[tokio::test]
async fn an_upload_in_parts_is_put_together_as_it_is_asked() {
    let shop = Shop::open().await;
    let path = "/edge-f/parts.mcap";
    let upload = shop.client.create_upload(path, &[("content-type", "x/y"), ("x-amz-meta-a", "b")]).await;
    let part = async |number: u32, bytes: Bytes| {
        let put = shop.client.put_part(path, &upload, number, bytes).await;
        assert_eq!(put.status, 200, "{}", put.text());
        put.etag().to_owned()
    };
    // In any order, with gaps, over what was there, and more than is wanted.
    let (large, other, small) = (content(5 * MIB), content(5 * MIB + 3), Bytes::from_static(b"the end"));
    let seventh = part(7, other.clone()).await;
    part(2, Bytes::from_static(b"overwritten")).await;
    let second = part(2, large.clone()).await;
    part(30, Bytes::from_static(b"never wanted")).await;
    let ninth = part(9, small.clone()).await;
    let first = part(1, small.clone()).await;

    let refused = async |parts: &[(u32, &str)], code: &str| {
        let answer = shop.client.complete(path, &upload, parts).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{}", answer.text());
    };
    refused(&[(2, &second), (7, &second), (9, &ninth)], "InvalidPart").await;
    refused(&[(2, &second), (3, &second)], "InvalidPart").await;
    refused(&[(7, &seventh), (2, &second)], "InvalidPartOrder").await;
    refused(&[(2, &second), (2, &second)], "InvalidPartOrder").await;
    refused(&[(1, &first), (2, &second)], "EntityTooSmall").await;
    refused(&[], "MalformedXML").await;
    assert_eq!(shop.client.head(path, &[]).await.status, 404);

    let wanted = [(2, second.as_str()), (7, seventh.as_str()), (9, ninth.as_str())];
    let done = shop.client.complete(path, &upload, &wanted).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let whole = [large.clone(), other.clone(), small.clone()].concat();
    let tag = format!("{}-3", md5(&[md5(&large), md5(&other), md5(&small)].map(|sum| hex::decode(sum).unwrap()).concat()));
    let head = shop.client.head(path, &[]).await;
    assert_eq!((head.etag(), head.header("content-type"), head.header("x-amz-meta-a")), (tag.as_str(), "x/y", "b"));
    assert_eq!(shop.content("parts.mcap").await.unwrap(), whole);
    let part = shop.client.send("GET", path, &[("partNumber", "3")], &[], "").await;
    assert_eq!((part.status, &part.body, part.header("x-amz-mp-parts-count")), (206, &small, "3"));

    // An answer that was lost is given again; of the parts nothing is left.
    let again = shop.client.complete(path, &upload, &wanted).await;
    assert_eq!((again.status, again.element("ETag")), (200, done.element("ETag")));
    let listed = shop.client.send("GET", "/edge-f", &[("uploads", "")], &[], "").await;
    assert_eq!(listed.elements("Upload").len(), 0);
    assert_eq!(files_below(&shop.root().join(".keystone/uploads")).len(), 1);
    // Replaced meanwhile, it is not the answer any more.
    shop.put("parts.mcap", "other").await;
    assert_eq!(shop.client.complete(path, &upload, &wanted).await.code(), "NoSuchUpload");

    let upload = shop.client.create_upload(path, &[]).await;
    let query = [("uploadId", upload.as_str())];
    assert_eq!(shop.client.send("DELETE", "/edge-f/another", &query, &[], "").await.code(), "NoSuchUpload");
    assert_eq!(shop.client.send("DELETE", path, &query, &[], "").await.status, 204);
    assert_eq!(shop.client.send("DELETE", path, &query, &[], "").await.code(), "NoSuchUpload");
    let bad = shop.client.put_part(path, &upload, 10_001, "x").await;
    assert_eq!(bad.code(), "InvalidArgument");
}

#[tokio::test]
async fn ranges_and_conditions_are_those_of_s3() {
    let shop = Shop::open().await;
    let (path, bytes) = ("/edge-f/ranges.mcap", content(3 * MIB + 5));
    let tag = shop.put("ranges.mcap", bytes.clone()).await;
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=100-", 100..bytes.len()),
        ("bytes=-7", bytes.len() - 7..bytes.len()),
        ("bytes=-99999999", 0..bytes.len()),
        ("bytes=1000000-99999999", 1_000_000..bytes.len()),
    ] {
        let got = shop.client.get(path, &[("range", range)]).await;
        let told = format!("bytes {}-{}/{}", expected.start, expected.end - 1, bytes.len());
        assert_eq!((got.status, got.header("content-range")), (206, told.as_str()), "{range}: {}", got.code());
        assert_eq!(got.body, bytes.slice(expected), "{range}");
    }
    let beyond = shop.client.get(path, &[("range", "bytes=99999999-")]).await;
    assert_eq!((beyond.status, beyond.code().as_str()), (416, "InvalidRange"));

    let (same, other) = (format!("\"{tag}\""), "\"0123456789abcdef0123456789abcdef\"");
    let modified = shop.client.head(path, &[]).await.header("last-modified").to_owned();
    let before = "Mon, 01 Jan 2024 00:00:00 GMT";
    for (name, value, status) in [
        ("if-match", same.as_str(), 200),
        ("if-match", other, 412),
        ("if-none-match", &same, 304),
        ("if-none-match", other, 200),
        ("if-none-match", "*", 304),
        ("if-modified-since", &modified, 304),
        ("if-modified-since", before, 200),
        ("if-unmodified-since", &modified, 200),
        ("if-unmodified-since", before, 412),
    ] {
        assert_eq!(shop.client.get(path, &[(name, value)]).await.status, status, "GET {name} {value}");
        assert_eq!(shop.client.head(path, &[(name, value)]).await.status, status, "HEAD {name} {value}");
    }
    let put = async |name: &str, value: &str| shop.client.put(path, &[(name, value)], "new").await.status;
    assert_eq!(put("if-none-match", "*").await, 412);
    assert_eq!(put("if-match", other).await, 412);
    assert_eq!(shop.content("ranges.mcap").await.unwrap(), bytes);
    assert_eq!(put("if-match", &same).await, 200);
    assert_eq!(shop.client.put("/edge-f/fresh", &[("if-none-match", "*")], "x").await.status, 200);
}

#[tokio::test]
async fn a_range_that_is_none_is_not_looked_at_and_one_that_is_too_large_is_cut() {
    let shop = Shop::open().await;
    let (path, bytes) = ("/edge-f/ranges.mcap", content(100));
    shop.put("ranges.mcap", bytes.clone()).await;
    for (range, expected) in
        [("bytes=0-18446744073709551616", 0..100), ("bytes=7-9223372036854775808", 7..100), ("bytes=-18446744073709551616", 0..100)]
    {
        let got = shop.client.get(path, &[("range", range)]).await;
        let told = format!("bytes {}-{}/100", expected.start, expected.end - 1);
        assert_eq!((got.status, got.header("content-range")), (206, told.as_str()), "{range}: {}", got.text());
        assert_eq!(got.body, bytes.slice(expected), "{range}");
    }
    for range in ["bytes=100-", "bytes=18446744073709551616-", "bytes=9223372036854775808-9223372036854775809", "bytes=-0"] {
        let got = shop.client.get(path, &[("range", range)]).await;
        assert_eq!((got.status, got.code().as_str()), (416, "InvalidRange"), "{range}");
        assert_eq!(got.header("content-range"), "bytes */100", "{range}");
        assert_eq!(shop.client.head(path, &[("range", range)]).await.status, 416, "{range}");
    }
    for range in ["bytes=5-4", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "bytes=-", "bytes=+1-2", "bytes", ""] {
        let got = shop.client.get(path, &[("range", range)]).await;
        assert_eq!((got.status, got.header("content-range"), got.body.len()), (200, "", 100), "{range:?}: {}", got.text());
        assert_eq!(shop.client.head(path, &[("range", range)]).await.status, 200, "{range:?}");
    }
    // Who may not look hears nothing else.
    let stranger = RawS3::new(shop.s3.address(), "keystone", "another secret");
    assert_eq!(stranger.get(path, &[("range", "bytes=a-b")]).await.status, 403);
    assert_eq!(shop.client.get("/edge-f/missing", &[("range", "bytes=a-b")]).await.status, 404);
    assert_eq!(shop.client.get(path, &[("range", "bytes=a-b"), ("if-match", "\"0\"")]).await.status, 412);
}

#[tokio::test]
async fn half_of_what_names_a_part_is_no_upload_of_the_whole() {
    let shop = Shop::open().await;
    shop.put("half.mcap", "whole").await;
    let id = shop.client.create_upload("/edge-f/half.mcap", &[]).await;
    for query in [vec![("partNumber", "1")], vec![("uploadId", id.as_str())], vec![("uploadId", "")]] {
        for headers in [vec![], vec![("x-amz-copy-source", "/edge-f/half.mcap"), ("x-amz-metadata-directive", "REPLACE")]] {
            let put = shop.client.send("PUT", "/edge-f/half.mcap", &query, &headers, "a part").await;
            assert_eq!((put.status, put.code().as_str()), (400, "InvalidArgument"), "{query:?} {headers:?}");
        }
    }
    assert_eq!(shop.content("half.mcap").await.unwrap(), "whole");
}

#[tokio::test]
async fn a_prefix_lists_what_begins_with_it_whether_a_key_could_be_called_so_or_not() {
    let shop = Shop::open().await;
    for key in [".hidden/a", ".../b", "a/..c", "a/d"] {
        shop.put(key, "x").await;
    }
    let all = [".../b", ".hidden/a", "a/..c", "a/d"];
    for prefix in ["", ".", "..", "...", "./", "../", "a/", "a//", "a/.", "a/..", "a/../", "/", "//", "a\\", "\u{1}"] {
        let expected: Vec<_> = all.iter().filter(|key| key.starts_with(prefix)).map(|key| (*key).to_owned()).collect();
        for list_type in ["1", "2"] {
            let query = [("list-type", list_type), ("prefix", prefix), ("encoding-type", "url")];
            let query = if list_type == "1" { &query[1..] } else { &query[..] };
            let listed = shop.client.send("GET", "/edge-f", query, &[], "").await;
            assert_eq!((listed.status, listed.elements("Key")), (200, expected.clone()), "{prefix:?}: {}", listed.text());
        }
        let uploads = shop.client.send("GET", "/edge-f", &[("uploads", ""), ("prefix", prefix), ("encoding-type", "url")], &[], "").await;
        assert_eq!((uploads.status, uploads.elements("Key").len()), (200, 0), "{prefix:?}: {}", uploads.text());
    }
    let elsewhere = shop.client.send("GET", "/no-bucket", &[("list-type", "2"), ("prefix", "a//")], &[], "").await;
    assert_eq!(elsewhere.status, 404);
}

#[tokio::test]
async fn what_is_refused_leaves_what_was_there() {
    let shop = Shop::open().await;
    let path = "/edge-f/kept.mcap";
    let tag = shop.put("kept.mcap", "before").await;
    let wrong_md5 = STANDARD.encode([7; 16]);
    let wrong_sha = STANDARD.encode([7; 32]);
    for (name, value, code) in [
        ("content-md5", wrong_md5.as_str(), "BadDigest"),
        ("content-md5", "nonsense", "InvalidDigest"),
        ("x-amz-checksum-sha256", &wrong_sha, "BadDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32c", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=", "BadDigest"),
    ] {
        let put = shop.client.put(path, &[(name, value)], "after").await;
        assert_eq!((put.status, put.code().as_str()), (400, code), "{name}: {}", put.text());
    }
    let put = shop.client.send_hashed("PUT", path, &[], &[], "after".into(), &"ab".repeat(32)).await;
    assert_eq!((put.status, put.code().as_str()), (400, "BadDigest"));
    let put = shop.client.put_with_trailer(path, b"after", crc32fast::hash(b"another")).await;
    assert_eq!((put.status, put.code().as_str()), (400, "BadDigest"), "{}", put.text());
    let head = shop.client.head(path, &[]).await;
    assert_eq!((head.etag(), shop.content("kept.mcap").await.unwrap()), (tag.as_str(), "before".into()));
    assert_eq!(files_below(&shop.root().join(".keystone/incoming")), Vec::<PathBuf>::new());

    let put = shop.client.put_with_trailer(path, b"after", crc32fast::hash(b"after")).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let head = shop.client.head(path, &[("x-amz-checksum-mode", "ENABLED")]).await;
    assert_eq!(head.header("x-amz-checksum-crc32"), STANDARD.encode(crc32fast::hash(b"after").to_be_bytes()));
    assert_eq!((head.header("content-encoding"), shop.content("kept.mcap").await.unwrap()), ("", "after".into()));
}

#[tokio::test]
async fn buckets_are_made_and_removed_only_when_that_harms_nothing() {
    let shop = Shop::open().await;
    let put = shop.client.put("/edge-nowhere/x", &[], "x").await;
    assert_eq!((put.status, put.code().as_str()), (404, "NoSuchBucket"));
    assert!(!shop.root().join("edge-nowhere").exists());
    for (method, path) in [("HEAD", "/edge-nowhere"), ("GET", "/edge-nowhere"), ("DELETE", "/edge-nowhere"), ("GET", "/edge-nowhere/x")] {
        assert_eq!(shop.client.send(method, path, &[], &[], "").await.status, 404, "{method} {path}");
    }
    shop.put("deep/down/x", "x").await;
    let refused = shop.client.delete("/edge-f").await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "BucketNotEmpty"));
    assert_eq!(shop.content("deep/down/x").await.unwrap(), "x");
    assert_eq!(shop.client.put("/edge-f", &[], "").await.status, 409);
    assert_eq!(shop.client.send("GET", "/edge-f", &[("location", "")], &[], "").await.status, 200);
    assert_eq!(shop.client.put("/edge-second", &[], "").await.status, 200);
    let listed = shop.client.send("GET", "/", &[], &[], "").await;
    assert_eq!(listed.elements("Name"), ["edge-f", "edge-second"], "{}", listed.text());
    assert_eq!(shop.client.delete("/edge-second").await.status, 204);
    // What this store does not do is said, and is no failure of its own.
    for query in ["acl", "policy", "versioning", "lifecycle", "tagging"] {
        assert_eq!(shop.client.send("GET", "/edge-f", &[(query, "")], &[], "").await.status, 501, "{query}");
    }
}

#[tokio::test]
async fn files_and_folders_are_for_their_owner_only() {
    let shop = Shop::open().await;
    shop.put("a/b/c.mcap", "x").await;
    shop.put(&format!("{}/x", "long".repeat(100)), "x").await;
    let upload = shop.client.create_upload("/edge-f/parts", &[]).await;
    shop.client.put_part("/edge-f/parts", &upload, 1, "x").await;
    let mut modes = BTreeMap::new();
    let mut folders = vec![shop.root()];
    while let Some(folder) = folders.pop() {
        modes.insert(folder.clone(), folder.metadata().unwrap().permissions().mode() & 0o777);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    modes.insert(path.clone(), path.metadata().unwrap().permissions().mode() & 0o777);
                }
            }
        }
    }
    assert!(modes.len() > 15, "{modes:?}");
    for (path, mode) in modes {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

/// A copy made by an operator has other times than the file that was uploaded.
#[tokio::test]
async fn a_restored_copy_is_known_by_its_content_and_another_file_is_not_taken_for_it() {
    let shop = Shop::open().await;
    let path = "/edge-f/d/restored.mcap";
    let upload = shop.client.create_upload(path, &[("x-amz-meta-checksum-sha256", "abcd")]).await;
    let tags = [shop.client.put_part(path, &upload, 1, content(5 * MIB)).await, shop.client.put_part(path, &upload, 2, "end").await];
    assert_eq!(shop.client.complete(path, &upload, &[(1, tags[0].etag()), (2, tags[1].etag())]).await.status, 200);
    let tag = shop.client.head(path, &[]).await.etag().to_owned();

    let file = shop.root().join("edge-f/d/restored.mcap");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    let head = shop.client.head(path, &[]).await;
    assert_eq!((head.etag(), head.header("x-amz-meta-checksum-sha256")), (tag.as_str(), "abcd"));

    let mut damaged = bytes;
    damaged[1000] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    let head = shop.client.head(path, &[]).await;
    assert_eq!((head.etag(), head.header("x-amz-meta-checksum-sha256")), (md5(&damaged).as_str(), ""));
}

#[tokio::test]
async fn who_reads_an_object_reads_one_version_of_it() {
    let shop = Shop::open().await;
    let (old, new) = (Bytes::from(vec![1; 24 * MIB]), Bytes::from(vec![2; 24 * MIB]));
    shop.put("replaced", old.clone()).await;
    let reading = shop.client.get("/edge-f/replaced", &[]);
    let writing = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        shop.put("replaced", new.clone()).await
    };
    let (read, _) = tokio::join!(reading, writing);
    assert!(read.body == old || read.body == new);
    assert_eq!(read.etag(), md5(&read.body));
    assert_eq!(shop.content("replaced").await.unwrap(), new);
}

/// Writes of one key at the same time: one of them wins as a whole.
#[tokio::test]
async fn bytes_and_attributes_are_of_one_write() {
    let shop = Shop::open().await;
    for _ in 0..5 {
        let writes = (0..8_u8).map(|nth| {
            let client = &shop.client;
            async move {
                let name = nth.to_string();
                let put = client.put("/edge-f/raced", &[("x-amz-meta-by", &name)], vec![nth; 1000]).await;
                assert_eq!(put.status, 200, "{}", put.text());
            }
        });
        futures_util::future::join_all(writes).await;
        let got = shop.client.get("/edge-f/raced", &[]).await;
        assert_eq!((got.header("x-amz-meta-by"), got.etag()), (got.body[0].to_string().as_str(), md5(&got.body).as_str()));
    }
}

/// Keeps what begins with `kept`, refuses what begins with `refused`, and remembers what it was asked.
#[derive(Default)]
struct Strict(Mutex<Vec<String>>);

#[async_trait::async_trait]
impl Guard for Strict {
    async fn replace(&self, write: Replacing<'_>) -> Replace {
        let same = write.same_bytes().await.unwrap();
        let asked = format!("{} {} {:?} {same}", write.access_key, write.key, write.old.map(|old| old.bytes));
        self.0.lock().unwrap().push(asked);
        match write.key {
            key if key.starts_with("kept") && same => Replace::KeepOld,
            key if key.starts_with("refused") && write.old.is_some() => {
                Replace::Refuse(Refusal { kind: RefusalKind::Unavailable, reason: "not now".to_owned() })
            }
            _ => Replace::Allow,
        }
    }

    async fn delete(&self, deletion: Deleting<'_>) -> Delete {
        match deletion.key {
            key if key.starts_with("refused") => Delete::Refuse(Refusal { kind: RefusalKind::Denied, reason: "it stays".to_owned() }),
            _ => Delete::Allow,
        }
    }
}

#[tokio::test]
async fn a_guard_decides_what_is_replaced_and_deleted_whichever_way_it_comes() {
    let guard = Arc::new(Strict::default());
    let shop = Shop::with(temp_folder(), options(DAY).guarded_by(guard.clone())).await;
    for key in ["kept", "refused", "free"] {
        let put = shop.client.put(&format!("/edge-f/{key}"), &[("x-amz-meta-nth", "1")], "same").await;
        assert_eq!(put.status, 200);
    }
    let again = shop.client.put("/edge-f/kept", &[("x-amz-meta-nth", "2")], "same").await;
    assert_eq!((again.status, shop.client.head("/edge-f/kept", &[]).await.header("x-amz-meta-nth")), (200, "1"));
    let put = shop.client.put("/edge-f/refused", &[], "other").await;
    assert_eq!((put.status, put.code().as_str()), (503, "ServiceUnavailable"));
    let copy = shop.client.put("/edge-f/refused", &[("x-amz-copy-source", "/edge-f/free")], "").await;
    assert_eq!(copy.status, 503);
    let upload = shop.client.create_upload("/edge-f/refused", &[]).await;
    let part = shop.client.put_part("/edge-f/refused", &upload, 1, "other").await;
    assert_eq!(shop.client.complete("/edge-f/refused", &upload, &[(1, part.etag())]).await.status, 503);
    assert_eq!(shop.client.delete("/edge-f/refused").await.status, 403);
    let deleted = shop
        .client
        .send(
            "POST",
            "/edge-f",
            &[("delete", "")],
            &[],
            "<Delete><Object><Key>refused</Key></Object><Object><Key>free</Key></Object></Delete>",
        )
        .await;
    assert_eq!((deleted.elements("Code"), shop.content("free").await), (vec!["AccessDenied".to_owned()], None), "{}", deleted.text());
    assert_eq!(shop.content("refused").await.unwrap(), "same");
    assert_eq!(files_below(&shop.root().join(".keystone/incoming")), Vec::<PathBuf>::new());
    assert_eq!(
        guard.0.lock().unwrap()[..4],
        ["test kept None false", "test refused None false", "test free None false", "test kept Some(4) true"]
    );
}
