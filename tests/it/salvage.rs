//! `keystone salvage`: what is good of a damaged recording, without a server.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::server::Server;
use crate::harness::temp_folder;
use crate::qa::record;

fn messages(path: &str) -> Vec<(u32, u64, Vec<u8>)> {
    let bytes = std::fs::read(path).expect("a file");
    let all = mcap::MessageStream::new(&bytes).expect("a recording").map(|message| message.expect("a message"));
    all.map(|message| (message.sequence, message.log_time, message.data.to_vec())).collect()
}

#[tokio::test]
async fn a_person_gets_what_is_good_and_hears_what_is_missing() {
    let folder = temp_folder();
    let server = Server::new(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (whole, damaged, cut, noise, out) =
        (path("whole.mcap"), path("damaged.mcap"), path("cut.mcap"), path("noise.mcap"), path("out.mcap"));
    let bytes = record(Path::new(&whole), 30);
    let all = messages(&whole);
    let files = || {
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    };

    // A recorder that died: neither end record nor summary.
    let summary = mcap::Summary::read(&bytes).expect("a recording").expect("a summary");
    let chunk = &summary.chunk_indexes[0];
    std::fs::write(&cut, &bytes[..(chunk.chunk_start_offset + chunk.chunk_length) as usize]).expect("a file");
    let (code, said) = server.tool(&["salvage", &cut, "--output", &out]).await;
    assert!(
        code == 0 && said.contains("301 messages kept, in ") && said.contains("the file ends at") && said.contains("chunks: 1 kept"),
        "{code} {said}"
    );
    assert!(said.contains("301 messages, 30.000 s from 2026-11-20T"), "{said}");
    assert_eq!(messages(&out), all);
    let (code, said) = server.tool(&["qa", &out]).await;
    assert!(code == 0 && said.contains("approved"), "{code} {said}");

    // What is there stays, and so does the recording itself.
    let before = std::fs::read(&out).expect("a file");
    let (code, said) = server.tool(&["salvage", &whole, "--output", &out]).await;
    assert!(code == 1 && said.contains("is there already; --force replaces it"), "{code} {said}");
    assert_eq!(std::fs::read(&out).expect("a file"), before);
    let (code, said) = server.tool(&["salvage", &whole, "--output", &whole, "--force"]).await;
    assert!(code == 1 && said.contains("is the recording itself"), "{code} {said}");
    assert_eq!(std::fs::read(&whole).expect("a file"), bytes);

    let (code, said) = server.tool(&["salvage", &whole, "--output", &out, "--force", "--json"]).await;
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let salvaged = &report["salvaged"];
    assert_eq!((code, &salvaged["messages_kept"], &salvaged["missing"]["items"]), (0, &json!(301), &json!([])));
    let sha256 = |path: &str| json!(keystone_edge::simulator::file_sha256(Path::new(path)).expect("a hash"));
    assert_eq!((&salvaged["parent_sha256"], &salvaged["sha256"]), (&sha256(&whole), &sha256(&out)));
    assert_eq!(messages(&out), all);

    // Its only chunk is damaged, or it is no recording at all: nothing is written, and what was there stays.
    let mut broken = bytes.clone();
    broken[chunk.chunk_start_offset as usize + 33] ^= 1;
    std::fs::write(&damaged, &broken).expect("a file");
    std::fs::write(&noise, [0x55; 4000]).expect("a file");
    let (there, before) = (files(), std::fs::read(&out).expect("a file"));
    for (file, why) in [(&damaged, "chunk 0"), (&noise, "missing at 8..4000")] {
        let (code, said) = server.tool(&["salvage", file, "--output", &out, "--force"]).await;
        assert!(code == 1 && said.contains(why) && said.contains("can be kept; nothing was written"), "{code} {said}");
    }
    let (code, said) = server.tool(&["salvage", &path("none.mcap"), "--output", &path("other.mcap")]).await;
    assert!(code == 1 && said.contains("cannot read"), "{code} {said}");
    let (code, said) = server.tool(&["salvage", &whole, "--output", &path("no/folder.mcap")]).await;
    assert!(code == 1 && said.contains("cannot write"), "{code} {said}");
    assert_eq!((files(), std::fs::read(&out).expect("a file")), (there, before), "no part is left behind");
    assert_eq!(server.tool(&["salvage", &whole]).await.0, 2, "usage");
}
