//! `keystone qa`: local recordings, measured and judged without a server.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::server::Server;
use crate::harness::temp_folder;

/// Ten messages a second of one arm, for so long.
pub fn record(path: &Path, seconds: u64) -> Vec<u8> {
    let mut writer = mcap::WriteOptions::new().profile("ros2").library("test").create(std::io::Cursor::new(vec![])).expect("a writer");
    let schema = writer.add_schema("geometry_msgs/msg/Pose", "ros2msg", b"float64 x").expect("a schema");
    let channel = writer.add_channel(schema, "/pose", "cdr", &BTreeMap::new()).expect("a channel");
    for step in 0..=seconds * 10 {
        let log_time = 1_795_204_387_000_000_000 + step * 100_000_000;
        let header = mcap::records::MessageHeader { channel_id: channel, sequence: step as u32, log_time, publish_time: log_time };
        writer.write_to_known_channel(&header, &[7; 40]).expect("a message");
    }
    writer.finish().expect("an end");
    let bytes = writer.into_inner().into_inner();
    std::fs::write(path, &bytes).expect("a file");
    bytes
}

#[tokio::test]
async fn a_person_hears_what_a_recording_is_worth_and_why() {
    let folder = temp_folder();
    let server = Server::new(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (good, short, cut) = (path("good.mcap"), path("short.mcap"), path("cut.mcap"));
    let bytes = record(Path::new(&good), 5);
    record(Path::new(&short), 1);
    std::fs::write(&cut, &bytes[..bytes.len() - 100]).expect("a file");

    let (code, said) = server.tool(&["qa", "--topic", "/pose=10", &good]).await;
    assert!(code == 0 && said.contains("approved, score 1.000") && said.contains("10.00 Hz"), "{code} {said}");
    let (code, said) = server.tool(&["qa", &good, &short]).await;
    assert!(code == 2 && said.contains("needs inspection") && said.contains("because 1.000 s, at least 3 s are wanted"), "{code} {said}");
    let (code, said) = server.tool(&["qa", &good, &short, &cut]).await;
    assert!(code == 1 && said.contains("cut.mcap: FAILED") && said.contains("damage at "), "{code} {said}");
    let (code, said) = server.tool(&["qa", "--topic", "/camera", &good]).await;
    assert!(code == 1 && said.contains("missing, or with too few messages: /camera"), "{code} {said}");
    let (code, said) = server.tool(&["qa", &path("none.mcap")]).await;
    assert!(code == 2 && said.contains("cannot read"), "{code} {said}");
    nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let (code, said) = server.tool(&["qa", &path("pipe")]).await;
    assert!(code == 2 && said.contains("is no file"), "{code} {said}");
    let (code, said) = server.tool(&["qa", "--reference", &path("none.json"), &good]).await;
    assert!(code == 2 && said.contains("none.json"), "{code} {said}");
    assert_eq!(server.tool(&["qa"]).await.0, 2, "usage");
    assert_eq!(server.tool(&["qa", "--topic", "/pose=often", &good]).await.0, 2, "usage");

    let (code, said) = server.tool(&["qa", "--json", "--quick", &good]).await;
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((code, &report["judgement"]["verdict"], &report["facts"]["tier"]), (0, &json!("approved"), &json!("indexes")));
    assert_eq!(report["facts"]["topics"]["items"][0]["count"], 51);

    // The file beside it is compared.
    let sha256 = keystone_edge::simulator::file_sha256(Path::new(&good)).expect("a hash");
    let sidecar = |count: u64, sha256: &str| {
        let recording = json!({ "message_count": count, "topics_recorded": ["/pose"], "duration_sec": 5.1, "checksum_sha256": sha256 });
        std::fs::write(path("good.json"), json!({ "recording": recording }).to_string()).expect("a file");
    };
    sidecar(51, &sha256);
    let (code, said) = server.tool(&["qa", &good]).await;
    assert!(code == 0 && said.contains("SHA-256 is as declared") && said.contains("the sidecar says what the file says"), "{code} {said}");
    sidecar(50, &sha256);
    let (code, said) = server.tool(&["qa", &good]).await;
    assert!(code == 2 && said.contains("it counts 50 messages, the file has 51"), "{code} {said}");
    sidecar(51, "00");
    let (code, said) = server.tool(&["qa", &good]).await;
    assert!(code == 1 && said.contains("declared is 00"), "{code} {said}");
}
