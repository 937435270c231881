//! Recordings that are written in a way the format allows and few writers choose: they become episodes, and the
//! event says what is unusual. Damaged ones do not, whatever they are written like.

use serde_json::{Value, json};

use crate::harness::bench::{Bench, Recording, complete, is_ack, transfer_of};
use crate::harness::until;

fn written(options: mcap::WriteOptions, messages: u32) -> Vec<u8> {
    let mut writer = options.create(std::io::Cursor::new(vec![])).unwrap();
    let schema = writer.add_schema("std_msgs/String", "ros2msg", b"string data").unwrap();
    let channel = writer.add_channel(schema, "/chatter", "cdr", &Default::default()).unwrap();
    for sequence in 0..messages {
        let header = mcap::records::MessageHeader { channel_id: channel, sequence, log_time: u64::from(sequence), publish_time: 0 };
        writer.write_to_known_channel(&header, &[7; 5000]).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().into_inner()
}

fn without_summary() -> mcap::WriteOptions {
    mcap::WriteOptions::new().emit_summary_records(false).emit_summary_offsets(false)
}

#[tokio::test]
async fn what_the_format_allows_becomes_an_episode_and_the_event_says_what_is_unusual() {
    let bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let sidecar = |text: &str| Some(text.as_bytes().to_vec());
    let read_through = "the recording was read from its first byte to its last";
    let ordinary = || written(mcap::WriteOptions::new(), 9);
    let large = written(without_summary().compression(None), 1_800);
    assert!(large.len() > 8 << 20, "more than one range");
    let sound = [
        (ordinary(), None, 9, vec![], json!(null)),
        (written(without_summary(), 9), None, 9, vec![read_through], json!(null)),
        (written(without_summary().use_chunks(false).calculate_data_section_crc(false), 9), None, 9, vec![read_through], json!(null)),
        (written(mcap::WriteOptions::new().emit_statistics(false), 9), None, 9, vec![read_through], json!(null)),
        (large, None, 1_800, vec![read_through], json!(null)),
        (
            ordinary(),
            sidecar(r#"{"recording":{"duration_sec":"3.9","recorder_version":"0.4.0"}}"#),
            9,
            vec!["recording.duration_sec of the sidecar is left out: no number"],
            json!({"recorder": {"recording": {"recorder_version": "0.4.0"}}}),
        ),
        (
            ordinary(),
            sidecar(r#"{"recording":{"duration_sec":1e999,"recorder_version":"0.4.0"},"writer_health":{"state":"normal"}}"#),
            9,
            vec!["recording.duration_sec of the sidecar is left out: no number"],
            json!({"recorder": {"recording": {"recorder_version": "0.4.0"}, "writer_health": {"state": "normal"}}}),
        ),
        (
            ordinary(),
            sidecar(r#"{"pose":1.#INF,"note":"a	b",'x':None,"recording":{"duration_sec":3.9,"recorder_version":"0.4.0",},}"#),
            9,
            vec![],
            json!({"recorder": {"recording": {"recorder_version": "0.4.0"}}}),
        ),
        (ordinary(), sidecar("no JSON"), 9, vec!["the sidecar is not read: it is no JSON object"], json!(null)),
        (ordinary(), sidecar("{\"recording\":{"), 9, vec!["the sidecar is not read: it is not JSON"], json!(null)),
    ];
    let tasks = bench.dispatch(sound.len() + 2).await;
    for ((mcap, sidecar, messages, notes, metadata), task) in sound.into_iter().zip(&tasks) {
        let recording = Recording::of(mcap, sidecar);
        let key = bench.key(task);
        bench.upload(&key, &recording).await;
        transfer.send(&complete(&task.public_id, &key, &recording)).await;
        transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
        let found = bench.client.get(&format!("/tasks/{}", task.id)).await.unwrap();
        let episode = bench.client.get(&format!("/episodes/{}", found["episode"]["id"])).await.unwrap();
        assert_eq!((&episode["message_count"], &episode["metadata"]), (&json!(messages), &metadata), "{notes:?}");
        let verified = bench.events_of(task, "upload_verified").await.remove(0)["verified"].clone();
        let noted: Vec<&str> = verified["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(noted.len(), notes.len(), "{noted:?}");
        assert!(noted.iter().zip(&notes).all(|(noted, wanted)| noted.starts_with(wanted)), "{noted:?}");
    }

    // A damaged chunk is for the checks to judge, and a file that is not whole stays with its robot.
    let whole = written(without_summary().compression(None), 9);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let end = whole.len() - 13 - 29 - 8;
    let shorter = [&whole[..end - 100], &whole[end..]].concat();
    for (damaged, task) in [flipped, shorter].into_iter().zip(&tasks[tasks.len() - 2..]) {
        let (recording, whole) = (Recording::of(damaged.clone(), None), damaged.len() == whole.len());
        let key = bench.key(task);
        bench.upload(&key, &recording).await;
        transfer.send(&complete(&task.public_id, &key, &recording)).await;
        if whole {
            transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
            let found = bench.client.get(&format!("/tasks/{}", task.id)).await.unwrap();
            let episode = || async { bench.client.get(&format!("/episodes/{}", found["episode"]["id"])).await.unwrap() };
            until("the verdict", async || episode().await["qa_status"] == "failed").await;
            let flag = episode().await["quality_flag"].clone();
            assert!(flag.as_str().is_some_and(|flag| flag.contains("chunk 0")), "{flag}");
            continue;
        }
        until("the rejection", async || !bench.events_of(task, "upload_rejected").await.is_empty()).await;
        let rejected = bench.events_of(task, "upload_rejected").await.remove(0);
        assert!(rejected["rejection"]["unsound"]["defect"].is_string(), "{rejected}");
        assert_eq!(bench.status(task).await, "uploading");
    }
    assert!(!transfer.drain().iter().any(|frame| is_ack(frame, &tasks[tasks.len() - 1].public_id)));
}

#[tokio::test]
async fn a_sidecar_over_the_limit_of_the_settings_is_not_read() {
    let bench = Bench::start().await;
    // Larger than the default of `limits.sidecar_bytes_max`.
    let filler = "x".repeat(4 << 20);
    let large = json!({ "recording": { "duration_sec": 3.9 }, "filler": filler }).to_string();
    let below = json!({ "recording": { "duration_sec": 3.9 }, "filler": &filler[..3 << 20] }).to_string();
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(2).await;
    for ((sidecar, duration, notes), task) in [(large, json!(null), 1), (below, json!(3.9), 0)].into_iter().zip(&tasks) {
        let recording = Recording::of(written(mcap::WriteOptions::new(), 1), Some(sidecar.into_bytes()));
        let key = bench.key(task);
        bench.upload(&key, &recording).await;
        transfer.send(&complete(&task.public_id, &key, &recording)).await;
        transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
        let found = bench.client.get(&format!("/tasks/{}", task.id)).await.unwrap();
        let episode = bench.client.get(&format!("/episodes/{}", found["episode"]["id"])).await.unwrap();
        assert_eq!(episode["duration_sec"], duration);
        let verified = bench.events_of(task, "upload_verified").await.remove(0)["verified"].clone();
        assert_eq!(verified["notes"].as_array().map(Vec::len), Some(notes), "{verified}");
    }
}
