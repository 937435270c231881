//! What the log says of the embedded store: what failed is ours and names the request, what was refused is the client's.

use crate::harness::disk::SmallDisk;
use crate::harness::s3::RawS3;
use crate::harness::server::Server;
use crate::harness::{temp_folder, until};

const OBJECT: &str = "edge-factory-default/1/AB-F0001-T0001-000001/2026-11-20/task_1.mcap";

fn client(server: &Server, secret: &str) -> RawS3 {
    RawS3::new(server.address(3).parse().expect("an address"), &server.store().access_key, secret)
}

/// Lines about the store, once there are so many.
async fn lines(server: &Server, count: usize) -> Vec<String> {
    let found = || server.log().lines().filter(|line| line.contains("store.operation=")).map(str::to_owned).collect::<Vec<_>>();
    until("the lines of the log", async || found().len() >= count).await;
    let lines = found();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "`{word}` is missing: {line}");
    }
}

#[tokio::test]
async fn a_failure_names_the_request_and_what_is_refused_is_no_error() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let secret = server.store().secret_key;
    let (good, bad) = (client(&server, &secret), client(&server, "another secret"));
    let (path, object) = (format!("/{OBJECT}"), format!("`{OBJECT}`"));

    // What clients ask to find something out is not worth a line.
    assert_eq!(good.head(&path, &[]).await.status, 404);
    // Theirs.
    assert_eq!(bad.put(&path, &[], "bytes").await.status, 503);
    assert_eq!(good.delete(&path).await.status, 403);
    assert_eq!(good.put(&path, &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")], "bytes").await.status, 400);
    good.put_cut_off(&path, 1 << 20, &[7; 1000]).await;
    let refused = lines(&server, 4).await;
    says(&refused[0], &[" INFO ", "refused PUT of", &object, "to test", "127.0.0.1", "503", "not signed with the secret"]);
    says(&refused[1], &[" INFO ", "refused DeleteObject of", &object, "to test", "403 AccessDenied"]);
    says(&refused[2], &[" INFO ", "refused PutObject of", &object, "400 BadDigest"]);
    says(&refused[3], &[" INFO ", "PutObject of", &object, "test"]);

    // Ours.
    let incoming = server.folder.join("data/objects/.keystone/incoming");
    std::fs::remove_dir_all(&incoming).expect("a folder");
    std::fs::write(&incoming, "in the way").expect("a file");
    assert_eq!(good.put(&path, &[], "bytes").await.status, 500);
    let all = lines(&server, 5).await;
    says(&all[4], &["ERROR ", "failed: PutObject of", &object, "for test", "127.0.0.1", "Not a directory"]);

    // A stranger writes a few lines, and no more.
    for _ in 0..60 {
        bad.put(&path, &[], "bytes").await;
    }
    let log = server.log();
    let told = log.lines().filter(|line| line.contains("object store refused")).count();
    assert!((20..=44).contains(&told), "{told} lines");
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR ")).collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(!log.contains(&secret) && !log.contains("another secret"), "no secret is logged");
}

#[tokio::test]
async fn a_full_disk_is_ours_and_says_so() {
    let folder = temp_folder();
    let objects = folder.path().join("data/objects");
    std::fs::create_dir_all(&objects).expect("a folder");
    let Some(disk) = SmallDisk::mount(&objects, 24) else { return };
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let good = client(&server, &server.store().secret_key);
    disk.fill();
    let reply = good.put(&format!("/{OBJECT}"), &[], vec![7; 1 << 20]).await;
    assert_eq!((reply.status, reply.code()), (503, "ServiceUnavailable".to_owned()), "{}", reply.text());
    let line = lines(&server, 1).await.remove(0);
    says(&line, &["ERROR ", "has no space left on its disk: PutObject of", OBJECT, "for test", "No space left on device"]);
    server.kill();
}
