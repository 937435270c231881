//! One recording on the device's disk: MCAP, sidecar, marker.
//!
//! `<task>.mcap` grows while messages are produced and stays empty until the first
//! chunk is full; finishing it writes five metadata records, patches the size in,
//! hashes the file and writes `<task>.json` and `<task>.mcap.done`, in that order.
//! A killed device writes nothing more: see [`Power`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use mcap::records::{MessageHeader, Metadata};
use mcap::write::NoSeek;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::profile::{RecordingProfile, TopicProfile};
use super::wire::{RECORDER_VERSION, TaskConfig, iso_millis};

const CHUNK_BYTES: u64 = 4 << 20;
/// Room for any size in the metadata record, filled in after closing.
const SIZE_DIGITS: usize = 20;

/// Whether the device still runs. Once it is cut nothing reaches the disk any more,
/// not even what destructors would flush.
#[derive(Clone, Default)]
pub(super) struct Power(Arc<AtomicBool>);

impl Power {
    pub fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the device was killed")),
            false => Ok(()),
        }
    }
}

struct Disk {
    file: File,
    power: Power,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.power.check()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.power.check()?;
        self.file.flush()
    }
}

#[derive(Clone)]
pub(super) struct DeviceFacts {
    pub device_id: String,
    pub hostname: String,
}

pub(super) struct Recording {
    writer: mcap::Writer<NoSeek<BufWriter<Disk>>>,
    power: Power,
    path: PathBuf,
    started_at: DateTime<Utc>,
    started: Instant,
    paused: Duration,
    paused_since: Option<Instant>,
    /// Messages per second are multiplied by it.
    pace: f64,
    topics: Vec<Topic>,
    rng: StdRng,
    message_count: u64,
    bytes_written: u64,
}

struct Topic {
    profile: TopicProfile,
    channel: Option<u16>,
    count: u64,
}

pub(super) struct Finished {
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    /// Without pauses; the sidecar's includes them.
    pub duration_sec: f64,
    pub message_count: u64,
    pub size: u64,
    pub sha256: String,
    pub mcap_path: PathBuf,
    pub json_path: PathBuf,
}

impl Recording {
    /// Overwrites an earlier recording of the same task.
    pub fn begin(path: PathBuf, profile: &RecordingProfile, pace: f64, seed: u64, power: Power) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let options = mcap::WriteOptions::new()
            .profile("ros2")
            .library("keystone simulator")
            .compression(Some(mcap::Compression::Zstd))
            .chunk_size(Some(CHUNK_BYTES))
            // A chunk reaches the disk as a whole, once it is full.
            .disable_seeking(true)
            // The size is patched into the data section after closing.
            .calculate_data_section_crc(false);
        let disk = Disk { file, power: power.clone() };
        let topic = |profile: &TopicProfile| Topic { profile: profile.clone(), channel: None, count: 0 };
        Ok(Self {
            writer: options.create(NoSeek::new(BufWriter::with_capacity(64 << 10, disk)))?,
            power,
            path,
            started_at: Utc::now(),
            started: Instant::now(),
            paused: Duration::ZERO,
            paused_since: None,
            pace,
            topics: profile.topics.iter().map(topic).collect(),
            rng: StdRng::seed_from_u64(seed),
            message_count: 0,
            bytes_written: 0,
        })
    }

    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// Time spent recording, without pauses.
    pub fn active(&self) -> Duration {
        let until = self.paused_since.unwrap_or_else(Instant::now);
        until.duration_since(self.started).saturating_sub(self.paused)
    }

    pub fn pause(&mut self) {
        self.paused_since.get_or_insert_with(Instant::now);
    }

    pub fn resume(&mut self) {
        if let Some(since) = self.paused_since.take() {
            self.paused += since.elapsed();
        }
    }

    pub fn message_count(&self) -> u64 {
        self.message_count
    }

    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    pub fn topic_counts(&self) -> BTreeMap<&str, u64> {
        self.topics.iter().map(|topic| (topic.profile.topic.as_str(), topic.count)).collect()
    }

    /// Writes every message that is due by now, in order of time.
    pub fn produce(&mut self) -> anyhow::Result<()> {
        let elapsed = self.active();
        let mut due: Vec<(u64, usize)> = Vec::new();
        for (index, topic) in self.topics.iter().enumerate() {
            let rate = topic.profile.rate_hz * self.pace;
            let count = (elapsed.as_secs_f64() * rate) as u64;
            due.extend((topic.count..count).map(|n| (((n + 1) as f64 / rate * 1e9) as u64, index)));
        }
        due.sort_unstable();
        let start_ns = self.started_at.timestamp_nanos_opt().unwrap_or_default() as u64;
        for (offset_ns, index) in due {
            self.write(index, start_ns + offset_ns)?;
        }
        Ok(())
    }

    fn write(&mut self, index: usize, log_time: u64) -> anyhow::Result<()> {
        let topic = &mut self.topics[index];
        let kind = topic.profile.kind;
        let channel_id = match topic.channel {
            Some(channel) => channel,
            // A topic without a message leaves no trace in the file.
            None => {
                let (encoding, data) = kind.schema();
                let schema = self.writer.add_schema(kind.message_type(), encoding, data.as_bytes())?;
                let (source, plugin) = kind.source();
                let metadata = [("axon.plugin", plugin), ("axon.source", source)];
                let metadata = metadata.map(|(key, value)| (key.into(), value.into())).into();
                let name = &topic.profile.topic;
                let id = self.writer.add_channel(schema, name, kind.message_encoding(), &metadata)?;
                *topic.channel.insert(id)
            }
        };
        let payload = kind.payload(topic.count, log_time, &mut self.rng);
        topic.count += 1;
        let sequence = topic.count as u32;
        let header = MessageHeader { channel_id, sequence, log_time, publish_time: log_time };
        self.writer.write_to_known_channel(&header, &payload)?;
        self.message_count += 1;
        self.bytes_written += payload.len() as u64;
        Ok(())
    }

    /// Removes what is on disk: the recording was cancelled.
    pub fn discard(self) -> anyhow::Result<()> {
        let path = self.path.clone();
        drop(self);
        for file in [sidecar_path(&path), marker_path(&path), path] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub fn finish(mut self, config: &TaskConfig, device: &DeviceFacts) -> anyhow::Result<Finished> {
        self.produce()?;
        self.resume();
        let active = self.active();
        let finished_at = Utc::now();
        let duration_sec = millis((finished_at - self.started_at).to_std().unwrap_or_default());

        let sidecar = Sidecar::new(&self, config, device, finished_at, duration_sec);
        for record in sidecar.metadata_records() {
            self.writer.write_metadata(&record)?;
        }
        let summary = self.writer.finish()?;
        let index = summary.metadata_indexes.iter().find(|index| index.name == "axon.recording");
        let index = index.context("the recording's own metadata is missing")?.clone();
        self.writer.into_inner().into_inner().flush()?;

        let size = fs::metadata(&self.path)?.len();
        patch_size(&self.path, index.offset, index.length, size)?;
        let sha256 = sha256_of(&self.path)?;

        self.power.check()?;
        let json_path = sidecar_path(&self.path);
        let unfinished = json_path.with_extension("json.tmp");
        let text = serde_json::to_vec_pretty(&sidecar.json(size, &sha256))?;
        fs::write(&unfinished, text)?;
        fs::rename(&unfinished, &json_path)?;
        fs::write(marker_path(&self.path), "done\n")?;
        Ok(Finished {
            started_at: self.started_at,
            finished_at,
            duration_sec: millis(active),
            message_count: self.message_count,
            size,
            sha256,
            mcap_path: self.path,
            json_path,
        })
    }
}

pub(super) fn sidecar_path(mcap: &Path) -> PathBuf {
    mcap.with_extension("json")
}

fn marker_path(mcap: &Path) -> PathBuf {
    mcap.with_extension("mcap.done")
}

/// Seconds with three decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Non-ASCII characters vanish from sidecar and metadata, on a real device as well.
fn ascii(text: &str) -> String {
    text.chars().filter(char::is_ascii).collect()
}

fn patch_size(path: &Path, record_at: u64, record_bytes: u64, size: u64) -> anyhow::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(record_at))?;
    let mut record = Vec::new();
    (&mut file).take(record_bytes).read_to_end(&mut record)?;
    let key = b"file_size_bytes";
    let key_at = record.windows(key.len()).position(|window| window == key);
    let value_at = key_at.context("the size has no place in the metadata")? + key.len() + 4;
    file.seek(SeekFrom::Start(record_at + value_at as u64))?;
    file.write_all(format!("{size:0width$}", width = SIZE_DIGITS).as_bytes())?;
    Ok(())
}

/// In hex, of a whole file.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

struct Sidecar {
    mcap_file: String,
    task: Value,
    device: Value,
    recording: Value,
    topics_summary: Value,
}

impl Sidecar {
    fn new(recording: &Recording, config: &TaskConfig, device: &DeviceFacts, finished_at: DateTime<Utc>, duration_sec: f64) -> Self {
        let mut task = json!({
            "factory": ascii(config.factory.as_deref().unwrap_or_default()),
            "scene": ascii(config.scene.as_deref().unwrap_or_default()),
            "task_id": config.task_id,
        });
        for (key, value) in [
            ("data_collector_id", &config.data_collector_id),
            ("operator_name", &config.operator_name),
            ("order_id", &config.order_id),
            ("subscene", &config.subscene),
        ] {
            if let Some(value) = value {
                task[key] = ascii(value).into();
            }
        }
        if let Some(skills) = &config.skills {
            task["skills"] = skills.iter().map(|skill| ascii(skill)).collect();
        }
        let recorded: BTreeMap<_, _> =
            recording.topics.iter().filter(|topic| topic.count > 0).map(|topic| (topic.profile.topic.as_str(), topic)).collect();
        let topics_summary = recorded.iter().map(|(name, topic)| {
            json!({
                "frequency_hz": 0.0,
                "message_count": topic.count,
                "message_type": topic.profile.kind.message_type(),
                "topic": name,
            })
        });
        let name = recording.path.file_name().unwrap_or_default();
        Self {
            mcap_file: name.to_string_lossy().into_owned(),
            task,
            device: json!({
                "device_id": device.device_id,
                "device_model": "Simulated",
                "hostname": device.hostname,
                "ros_distro": "humble",
            }),
            recording: json!({
                "duration_sec": duration_sec,
                "message_count": recording.message_count,
                "recorder_version": RECORDER_VERSION,
                "recording_finished_at": iso_millis(finished_at),
                "recording_started_at": iso_millis(recording.started_at),
                "topics_recorded": recorded.keys().collect::<Vec<_>>(),
            }),
            topics_summary: topics_summary.collect(),
        }
    }

    fn json(&self, size: u64, sha256: &str) -> Value {
        let mut recording = self.recording.clone();
        recording["checksum_sha256"] = sha256.into();
        recording["file_size_bytes"] = size.into();
        json!({
            "device": self.device,
            "mcap_file": self.mcap_file,
            "recording": recording,
            "task": self.task,
            "topics_summary": self.topics_summary,
            "version": "1.0",
        })
    }

    fn metadata_records(&self) -> [Metadata; 5] {
        let mut recording = self.recording.clone();
        recording["duration_sec"] = format!("{:.3}", self.recording["duration_sec"].as_f64().unwrap_or_default()).into();
        recording["file_size_bytes"] = "0".repeat(SIZE_DIGITS).into();
        [
            ("axon.sidecar", json!({ "mcap_file": self.mcap_file, "version": "1.0" })),
            ("axon.task", self.task.clone()),
            ("axon.device", self.device.clone()),
            ("axon.recording", recording),
            ("axon.topics", json!({ "topics_summary": self.topics_summary })),
        ]
        .map(|(name, fields)| Metadata { name: name.into(), metadata: as_text(&fields) })
    }
}

/// All values of a metadata record are strings; lists are JSON as text.
fn as_text(fields: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = fields.as_object().into_iter().flatten();
    fields.map(|(key, value)| (key.clone(), text(value))).collect()
}
