use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::domain::judgement::*;
use crate::domain::measurement::*;

/// A second of an arm at 50 Hz and a camera at 30 Hz, ten times over.
fn facts() -> Facts {
    const START: u64 = 1_795_204_387_000_000_000;
    let timing = |period: u64, count: u64| Timing {
        first_ns: START,
        last_ns: START + period * (count - 1),
        intervals: Some(Intervals { median_ns: period, p99_ns: period, longest_ns: period, ..Intervals::default() }),
        ..Timing::default()
    };
    let topic = |name: &str, message_type: &str, period: u64, count: u64| TopicFacts {
        topic: name.into(),
        message_type: message_type.into(),
        message_encoding: "cdr".into(),
        schema_encoding: "ros2msg".into(),
        schema_bytes: 100,
        count,
        timing: Some(timing(period, count)),
        sequence: Some(Sequence { all_zero: true, missing: 0, resets: 0 }),
        ..TopicFacts::default()
    };
    let mut arm = topic("/joint_states", "sensor_msgs/msg/JointState", 20_000_000, 500);
    let end_urad = Listed::of((0..7).map(|joint| joint * 300_000 - 900_000), JOINTS_TOLD_MAX);
    arm.joints = Some(Joints { dof: 7, steps: 499, jump_urad: 50_000, jerk_milli: Some(16_000), end_urad, ..Joints::default() });
    let mut camera = topic("/camera/front", "sensor_msgs/msg/CompressedImage", 33_333_333, 300);
    let samples = Samples {
        sampled: 10,
        pixels: Pixels {
            at_ms: (0..10).map(|n| n * 1000).collect(),
            luma: vec![120; 10],
            spread: vec![40; 10],
            extreme_permille: vec![10; 10],
            blur: vec![900; 10],
            difference_milli: (0..10).map(|n| (n > 0).then_some(2000)).collect(),
        },
        ..Samples::default()
    };
    camera.images = Some(Images { jpeg: 300, width: 640, height: 480, samples: Some(samples), ..Images::default() });
    Facts {
        measured_by: VERSION,
        tier: Tier::Whole,
        gone: false,
        size_bytes: 1_000_000,
        etag: None,
        read_bytes: 1_000_000,
        sha256: None,
        head_magic: "89 4d 43 41 50 30 0d 0a".into(),
        tail_magic: "89 4d 43 41 50 30 0d 0a".into(),
        profile: "ros2".into(),
        library: "test".into(),
        read_through: None,
        checksums: Checksums { summary: true, data_section: true, chunks_compared: 3, chunks_without: 0 },
        chunk_count: 3,
        message_count: 800,
        start_ns: START,
        end_ns: START + 9_980_000_000,
        attachments: Listed::default(),
        metadata: Listed::default(),
        metadata_keys: Listed::default(),
        topics: Listed::of([arm, camera], TOPICS_MAX),
        sync: Listed::of(
            [SyncFacts {
                camera: "/camera/front".into(),
                state: "/joint_states".into(),
                images: 300,
                median_ns: 5_000_000,
                p95_ns: 10_000_000,
                worst_ns: 10_000_000,
            }],
            SYNC_MAX,
        ),
        pairs: Listed::default(),
        findings: Listed::default(),
        not_measured: Listed::default(),
        sidecar: None,
    }
}

fn wants() -> TaskWants {
    let topic = |topic: &str, rate_hz| WantedTopic { topic: topic.into(), rate_hz: Some(rate_hz) };
    TaskWants { topics: vec![topic("/joint_states", 50.0), topic("/camera/*", 30.0)], ..TaskWants::default() }
}

fn judged(change: impl FnOnce(&mut Facts)) -> Judgement {
    let mut facts = facts();
    change(&mut facts);
    judge(&facts, &Suite::default(), &wants())
}

fn check<'a>(judgement: &'a Judgement, name: &str) -> &'a CheckResult {
    judgement.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_good_recording_is_approved_and_says_nothing() {
    let judgement = judged(|_| {});
    let bad: Vec<&CheckResult> = judgement.checks.iter().filter(|check| matches!(check.result, Grade::Warn | Grade::Fail)).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!((judgement.verdict, judgement.score, &judgement.flag), (Verdict::Approved, 1.0, &None));
    assert_eq!(judgement.parts.len(), 4);
}

#[test]
fn a_broken_gate_fails_whatever_the_score() {
    for (kind, name) in [
        (FindingKind::Cut, "magics"),
        (FindingKind::Footer, "footer"),
        (FindingKind::SummaryCrc, "summary_crc"),
        (FindingKind::Statistics, "stats_consistent"),
        (FindingKind::ChunkNotIndexed, "chunk_regions"),
        (FindingKind::MessageIndex, "index_consistent"),
        (FindingKind::ChunkCrc, "chunk_crc"),
        (FindingKind::Record, "records"),
        (FindingKind::DataCrc, "data_crc"),
        (FindingKind::AttachmentCrc, "attachment_crc"),
    ] {
        let finding = Finding { kind, at: 40, bytes: 7, chunk: Some(2), text: "it is broken there".into() };
        let judgement = judged(|facts| facts.findings = Listed::of([finding], FINDINGS_MAX));
        assert_eq!((judgement.verdict, judgement.flag.as_deref()), (Verdict::Failed, Some("it is broken there")), "{kind:?}");
        let broken = check(&judgement, name);
        assert_eq!((broken.result, &broken.numbers["at"], &broken.numbers["chunk"]), (Grade::Fail, &40.into(), &2.into()), "{kind:?}");
    }
    let judgement = judged(|facts| drop(facts.topics.items.pop()));
    assert_eq!((judgement.verdict, check(&judgement, "required_topics").result), (Verdict::Failed, Grade::Fail));
}

/// Each kind of damage breaks exactly one of the gates, so none is overlooked.
#[test]
fn every_kind_of_damage_breaks_a_gate() {
    for &kind in FindingKind::ALL {
        let finding = Finding { kind, at: 40, bytes: 7, chunk: None, text: "x".into() };
        let judgement = judged(|facts| facts.findings = Listed::of([finding], FINDINGS_MAX));
        let broken = judgement.checks.iter().filter(|check| check.role == Role::Gate && check.result == Grade::Fail).count();
        assert_eq!(broken, 1, "{kind:?}");
    }
}

#[test]
fn the_checks_of_the_contract_speak_as_it_says() {
    let text = |change: fn(&mut Facts)| {
        let judgement = judged(change);
        let found = check(&judgement, "mcap_magic");
        (found.result, found.details.clone())
    };
    assert_eq!(text(|_| {}), (Grade::Pass, "MCAP head and tail magic matched".into()));
    let failed = |why: &str| (Grade::Fail, format!("MCAP integrity check failed: {why}"));
    assert_eq!(text(|facts| facts.tail_magic.clear()), failed("tail magic mismatch"));
    assert_eq!(text(|facts| facts.head_magic.clear()), failed("head magic mismatch"));
    assert_eq!(text(|facts| (facts.head_magic, facts.tail_magic) = ("00".into(), "00".into())), failed("head and tail magic mismatch"));
    assert_eq!(text(|facts| facts.size_bytes = 15), failed("file is smaller than 16 bytes"));

    let says = |message_count, names_topics| SidecarFacts::Read(SidecarSays { message_count, names_topics, ..SidecarSays::default() });
    let failed = |why: &str| format!("Recording sidecar check failed: {why}");
    for (sidecar, result, details) in [
        (SidecarFacts::Missing, Grade::Fail, failed("sidecar object not found")),
        (SidecarFacts::Empty, Grade::Fail, failed("sidecar object is empty")),
        (SidecarFacts::TooLarge { size_bytes: 9, max_bytes: 8 }, Grade::Fail, failed("sidecar object is too large")),
        (SidecarFacts::Invalid { size_bytes: 1, error: "x".into() }, Grade::Fail, failed("invalid sidecar JSON")),
        (says(0, false), Grade::Fail, failed("message_count is zero and no recorded topics")),
        (says(0, true), Grade::Fail, failed("message_count is zero")),
        (says(1, false), Grade::Fail, failed("no recorded topics")),
        (says(1, true), Grade::Pass, "Recording sidecar reports messages and topics".to_owned()),
    ] {
        let judgement = judged(|facts| facts.sidecar = Some(sidecar));
        let found = check(&judgement, "recording_not_empty");
        assert_eq!((found.result, &found.details), (result, &details));
    }
    assert_eq!(check(&judged(|_| {}), "recording_not_empty").result, Grade::NotApplicable);
}

#[test]
fn thresholds_are_met_from_below_and_from_above() {
    let arm = |change: fn(&mut TopicFacts)| judged(|facts| change(&mut facts.topics.items[0]));
    let gap = |topic: &mut TopicFacts, ns| topic.timing.as_mut().unwrap().intervals.as_mut().unwrap().longest_ns = ns;
    let result = |judgement: &Judgement, name| check(judgement, name).result;
    let with_gap = |ns| {
        let mut facts = facts();
        gap(&mut facts.topics.items[0], ns);
        judge(&facts, &Suite::default(), &wants())
    };
    assert_eq!(result(&with_gap(200_000_000), "max_gap"), Grade::Pass);
    let warned = with_gap(200_000_001);
    assert_eq!((result(&warned, "max_gap"), warned.verdict), (Grade::Warn, Verdict::NeedsInspection));
    assert_eq!(result(&with_gap(1_000_000_001), "max_gap"), Grade::Fail);

    let judgement = arm(|topic| topic.count = 470);
    assert_eq!((result(&judgement, "completeness"), result(&judgement, "rate")), (Grade::Warn, Grade::Pass));
    assert_eq!(result(&arm(|topic| topic.count = 449), "completeness"), Grade::Fail);
    assert_eq!(result(&arm(|topic| topic.count = 400), "rate"), Grade::Warn);
    assert_eq!(result(&arm(|topic| topic.joints.as_mut().unwrap().not_finite = 1), "finite"), Grade::Fail);
    assert_eq!(result(&arm(|topic| topic.joints.as_mut().unwrap().stuck_ns = 2_000_000_000), "stuck"), Grade::Pass);
    assert_eq!(result(&arm(|topic| topic.joints.as_mut().unwrap().stuck_ns = 2_000_000_001), "stuck"), Grade::Warn);
    assert_eq!(result(&arm(|topic| topic.joints.as_mut().unwrap().stuck_ns = 6_000_000_000), "stuck"), Grade::Fail);
    assert_eq!(result(&arm(|topic| topic.joints.as_mut().unwrap().jump_urad = 400_000), "jump"), Grade::Warn);
    assert_eq!(result(&arm(|topic| topic.timing.as_mut().unwrap().backward = 1), "monotonic"), Grade::Warn);

    let camera = |change: fn(&mut Images)| judged(|facts| change(facts.topics.items[1].images.as_mut().unwrap()));
    assert_eq!(result(&camera(|images| images.bad = 2), "codec_header"), Grade::Warn);
    assert_eq!(result(&camera(|images| images.bad = 4), "codec_header"), Grade::Fail);
    assert_eq!(result(&camera(|images| images.frozen_ns = 499_999_999), "frozen"), Grade::Pass);
    assert_eq!(result(&camera(|images| images.frozen_ns = 500_000_000), "frozen"), Grade::Warn);
    assert_eq!(result(&camera(|images| images.frozen_ns = 2_000_000_000), "frozen"), Grade::Fail);
    assert_eq!(result(&camera(|images| images.other_size = 1), "resolution"), Grade::Warn);

    let samples =
        |change: &dyn Fn(&mut Samples)| judged(|facts| change(facts.topics.items[1].images.as_mut().unwrap().samples.as_mut().unwrap()));
    let undecodable = samples(&|samples| samples.undecodable = 1);
    assert_eq!((result(&undecodable, "decodable"), undecodable.verdict), (Grade::Fail, Verdict::NeedsInspection));
    for (luma, spread, expected) in [(16, 8, Grade::Pass), (15, 8, Grade::Warn), (241, 8, Grade::Warn), (16, 7, Grade::Warn)] {
        let judgement = samples(&|samples| (samples.pixels.luma[3], samples.pixels.spread[3]) = (luma, spread));
        assert_eq!(result(&judgement, "black_flat"), expected, "{luma} {spread}");
    }
    assert_eq!(result(&samples(&|samples| samples.pixels.luma[..3].fill(0)), "black_flat"), Grade::Fail);
    for (many, expected) in [(3, Grade::Pass), (4, Grade::Warn)] {
        assert_eq!(result(&samples(&|samples| samples.pixels.blur[..many].fill(99)), "blur"), expected);
        assert_eq!(result(&samples(&|samples| samples.pixels.extreme_permille[..many].fill(201)), "extreme_luma"), expected);
    }
    for (still, expected) in [(10, Grade::Pass), (11, Grade::Warn)] {
        let judgement =
            samples(&|samples| samples.pixels.difference_milli = [vec![None], vec![Some(100); still], vec![Some(101)]].concat());
        assert_eq!(result(&judgement, "frozen_pixels"), expected);
    }

    assert_eq!(result(&judged(|facts| facts.start_ns = 0), "time_sane"), Grade::Fail);
    assert_eq!(result(&judged(|facts| facts.end_ns = facts.start_ns + 2_000_000_000), "duration"), Grade::Fail);
    assert_eq!(result(&judged(|facts| facts.sync.items[0].p95_ns = 34_000_001), "sync_skew"), Grade::Warn);
}

#[test]
fn leaders_and_followers_warn_and_rank() {
    let pair = PairFacts {
        leader: "/lead".into(),
        follower: "/follow".into(),
        compared: 300,
        lag_ms: 150,
        p95_urad: 200_000,
        quiet: 30,
        offset_urad: Some(100_000),
    };
    let with = |change: &dyn Fn(&mut PairFacts, &mut TopicFacts)| {
        judged(|facts| {
            let (mut leader, mut pair) = (facts.topics.items[0].clone(), pair.clone());
            facts.topics.items[0].topic = "/follow".into();
            leader.topic = "/lead".into();
            change(&mut pair, &mut leader);
            facts.topics.items.push(leader);
            facts.pairs = Listed::of([pair], PAIRS_MAX);
        })
    };
    let result = |judgement: &Judgement, name| check(judgement, name).result;
    let good = with(&|_, _| {});
    for name in ["action_state", "lead_follow", "leader_offset"] {
        assert_eq!(result(&good, name), Grade::Pass, "{name}");
        assert_eq!(result(&judged(|_| {}), name), Grade::NotApplicable, "{name}");
    }
    assert_eq!(result(&with(&|pair, _| pair.lag_ms = 160), "lead_follow"), Grade::Warn);
    assert_eq!(result(&with(&|pair, _| pair.p95_urad = 200_001), "lead_follow"), Grade::Warn);
    assert_eq!(result(&with(&|pair, _| pair.offset_urad = Some(100_001)), "leader_offset"), Grade::Warn);
    assert_eq!(result(&with(&|pair, _| pair.quiet = 29), "leader_offset"), Grade::NotApplicable);
    assert_eq!(result(&with(&|_, leader| leader.count = 474), "action_state"), Grade::Warn);
    assert_eq!(result(&with(&|_, leader| leader.count = 475), "action_state"), Grade::Pass);
    assert_eq!(result(&with(&|_, leader| leader.count = 250), "action_state"), Grade::NotApplicable, "it comes half as often");
    assert_eq!(result(&with(&|_, leader| leader.timing.as_mut().unwrap().last_ns += 101_000_000), "action_state"), Grade::Warn);
}

#[test]
fn units_videos_and_metadata_are_judged_where_they_are_known() {
    let result = |judgement: &Judgement, name| check(judgement, name).result;
    let units = |typical| judged(|facts| facts.topics.items[0].joints.as_mut().unwrap().typical_urad = Some(typical));
    assert_eq!((result(&units(31_000_000), "joint_units"), result(&units(32_000_000), "joint_units")), (Grade::Pass, Grade::Warn));
    let video = |change: &dyn Fn(&mut Video)| {
        let mut video = Video {
            codec: VideoCodec::H264,
            units: 300,
            without_start_codes: 0,
            begins_complete: true,
            key_units: 9,
            longest_without_key_ns: 2_000_000_000,
        };
        change(&mut video);
        result(&judged(|facts| facts.topics.items[1].images.as_mut().unwrap().video = Some(video)), "h26x")
    };
    assert_eq!(video(&|_| {}), Grade::Pass);
    assert_eq!(video(&|video| video.longest_without_key_ns += 1), Grade::Warn);
    assert_eq!(video(&|video| video.begins_complete = false), Grade::Warn);
    assert_eq!(video(&|video| video.without_start_codes = 1), Grade::Warn);
    let metadata = |tier, wanted: &[&str]| {
        let facts = Facts {
            tier,
            metadata: Listed::of(["axon.task".to_owned()], NAMES_MAX),
            metadata_keys: Listed::of(["axon.task.task_id".to_owned()], METADATA_KEYS_MAX),
            ..facts()
        };
        let wants = TaskWants { metadata: wanted.iter().map(|name| (*name).to_owned()).collect(), ..wants() };
        result(&judge(&facts, &Suite::default(), &wants), "metadata")
    };
    assert_eq!(metadata(Tier::Whole, &[]), Grade::NotApplicable);
    assert_eq!(metadata(Tier::Whole, &["axon.task", "axon.task.task_id"]), Grade::Pass);
    assert_eq!(metadata(Tier::Whole, &["axon.task", "calibration"]), Grade::Warn);
    assert_eq!(metadata(Tier::Indexes, &["axon.task.scene"]), Grade::NotApplicable);
}

/// The real recorder counts from its start to its stop, and leaves the text of schemas empty that it does not have.
#[test]
fn habits_of_the_recorder_are_no_reason_to_look() {
    let says = |duration_ms, message_count| {
        judged(|facts| {
            let says = SidecarSays { message_count, names_topics: true, duration_ms: Some(duration_ms), ..SidecarSays::default() };
            facts.sidecar = Some(SidecarFacts::Read(says));
        })
    };
    let agrees = |duration_ms| check(&says(duration_ms, 800), "sidecar_agrees").result;
    for (duration_ms, expected) in
        [(9_980, Grade::Pass), (9_480, Grade::Pass), (9_479, Grade::Warn), (14_980, Grade::Pass), (14_981, Grade::Warn)]
    {
        assert_eq!(agrees(duration_ms), expected, "{duration_ms}");
    }
    assert_eq!(check(&says(9_980, 799), "sidecar_agrees").result, Grade::Warn);

    let schema = |name: &str, encoding: &str, bytes| {
        let judgement = judged(|facts| {
            let topic = &mut facts.topics.items[0];
            (topic.message_type, topic.schema_encoding, topic.schema_bytes) = (name.to_owned(), encoding.to_owned(), bytes);
        });
        check(&judgement, "schemas").result
    };
    assert_eq!((schema("axon_udp/json", "jsonschema", 0), schema("axon_udp/json", "", 0)), (Grade::Pass, Grade::Pass));
    assert_eq!((schema("", "", 0), schema("", "ros2msg", 0), schema("a/B", "c", 9)), (Grade::Warn, Grade::Warn, Grade::Warn));
}

#[test]
fn a_low_score_needs_inspection_and_fails_where_the_suite_says_so() {
    let mut facts = facts();
    facts.topics.items.iter_mut().for_each(|topic| topic.timing.as_mut().unwrap().intervals.as_mut().unwrap().longest_ns = 5_000_000_000);
    facts.end_ns = facts.start_ns + 1_000_000_000;
    let suite = Suite::default();
    let judgement = judge(&facts, &suite, &wants());
    assert!(judgement.score < 0.90, "{}", judgement.score);
    assert_eq!(judgement.verdict, Verdict::NeedsInspection);
    let strict = Suite { fail_below: 0.89, ..suite };
    assert_eq!(judge(&facts, &strict, &wants()).verdict, Verdict::Failed);
}

#[test]
fn what_was_not_read_is_not_applicable_and_counts_nothing() {
    let judgement = judged(|facts| {
        facts.tier = Tier::Indexes;
        for topic in &mut facts.topics.items {
            (topic.joints, topic.images, topic.sequence) = (None, None, None);
        }
    });
    for name in ["chunk_crc", "records", "codec_header", "finite", "zero_size"] {
        assert_eq!((check(&judgement, name).result, check(&judgement, name).score), (Grade::NotApplicable, None), "{name}");
    }
    assert_eq!((judgement.verdict, judgement.score, judgement.parts.contains_key(&Part::Images)), (Verdict::Approved, 1.0, false));
}

/// What was not looked at is told as that: it fails nothing, and nothing is approved by it.
#[test]
fn a_chunk_that_could_not_be_unpacked_is_for_a_person() {
    let left_out = || NotMeasured { at: Some(100), chunk: Some(1), why: "its packing is `brotli`".into() };
    let one_left_out = |facts: &mut Facts| {
        facts.checksums.chunks_compared = 2;
        facts.not_measured.push(left_out(), FINDINGS_MAX);
    };
    let judgement = judged(one_left_out);
    assert_eq!((check(&judgement, "chunk_crc").result, check(&judgement, "records").result), (Grade::NotDone, Grade::NotApplicable));
    assert_eq!(judgement.verdict, Verdict::NeedsInspection);
    assert_eq!(judgement.flag.as_deref(), Some("1 of 3 chunks could not be unpacked: its packing is `brotli`"));
    // One that was compared piece by piece, and of which only the messages were not looked at, is whole.
    let compared = judged(|facts| facts.not_measured.push(left_out(), FINDINGS_MAX));
    assert_eq!((check(&compared, "chunk_crc").result, compared.verdict), (Grade::Pass, Verdict::Approved));
    // Where no index counts its messages, what was not seen may be in it.
    let without_summary = |facts: &mut Facts| {
        one_left_out(facts);
        facts.read_through = Some("there is no summary".into());
        facts.topics.items.remove(1);
    };
    assert_eq!(check(&judged(without_summary), "required_topics").result, Grade::NotApplicable);
    let nothing_seen = judged(|facts| {
        without_summary(facts);
        facts.message_count = 0;
    });
    assert_eq!((check(&nothing_seen, "not_empty").result, nothing_seen.verdict), (Grade::NotApplicable, Verdict::NeedsInspection));
}

#[test]
fn what_cannot_be_read_is_no_position_and_no_acceleration() {
    for (unread, result) in [(0, Grade::Pass), (5, Grade::Warn), (50, Grade::Fail)] {
        let judgement = judged(|facts| facts.topics.items[0].unread = unread);
        assert_eq!(check(&judgement, "finite").result, result, "{unread}");
        assert_eq!(judgement.verdict == Verdict::Approved, unread == 0, "{unread}");
    }
    let judgement = judged(|facts| {
        facts.topics.items[0].imu = Some(Imu::default());
        facts.topics.items[0].unread = 5;
    });
    assert_eq!(check(&judgement, "imu_range").result, Grade::Warn);
}

#[test]
fn limits_that_cannot_be_meant_are_named() {
    for (name, limit, value, said) in [
        ("time_sane", "hours_max", -5.0, "the limit hours_max of the check time_sane must be from 0 to 1000000000"),
        ("time_sane", "ahead_s", 1e308, "the limit ahead_s of the check time_sane must be from 0 to 1000000000"),
        ("rate", "pass_share", 2.0, "the limit pass_share of the check rate must be from 0 to 1"),
        ("rate", "pass_share", 0.6, "the limit pass_share of the check rate (0.6) must not be above its fail_share (0.5)"),
        ("rate", "fail_share", 0.05, "the limit pass_share of the check rate (0.1) must not be above its fail_share (0.05)"),
        ("completeness", "camera_pass", 0.5, "the limit camera_pass of the check completeness (0.5) must not be below its fail (0.9)"),
        ("duration", "min_s", 700.0, "the limit min_s of the check duration (700) must not be above its max_s (600)"),
        ("black_flat", "bright_luma", 10.0, "the limit dark_luma of the check black_flat (16) must not be above its bright_luma (10)"),
    ] {
        let mut suite = Suite::default();
        let spec = suite.checks.iter_mut().find(|spec| spec.name == name).unwrap();
        spec.limits.insert(limit.into(), value);
        assert_eq!(super::suite::unknown(&suite).as_deref(), Some(said));
    }
    assert_eq!(super::suite::unknown(&Suite::default()), None);
}

#[test]
fn the_shipped_suite_has_each_check_once_and_the_weights_of_its_parts() {
    let (names, ids): (BTreeSet<_>, BTreeSet<_>) = CHECKS.iter().map(|check| (check.name, check.id)).unzip();
    assert_eq!((names.len(), ids.len()), (CHECKS.len(), CHECKS.len()));
    let suite = Suite::default();
    assert_eq!(Part::ALL.iter().map(|part| suite.parts[part]).collect::<Vec<_>>(), [30, 20, 20, 30]);
    assert_eq!((suite.checks[0].name.as_str(), suite.checks[1].name.as_str()), ("mcap_magic", "recording_not_empty"));
    let text = serde_json::to_string(&suite).unwrap();
    assert_eq!(serde_json::from_str::<Suite>(&text).unwrap(), suite);
}

#[test]
fn the_document_has_every_check_as_it_is() {
    let rows = include_str!("../../docs/quality.md").lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 5);
    let documented: Vec<Vec<&str>> = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).take(5).collect()).collect();
    let row = |check: &Check| {
        let (part, weight) = match check.role {
            Role::Gate => ("gate", "–".to_owned()),
            Role::Part(part, weight) => (part.as_str(), weight.to_string()),
        };
        let look = if check.looked_at { "look" } else { "–" };
        vec![format!("`{}`", check.name), check.id.to_owned(), part.to_owned(), weight, look.to_owned()]
    };
    assert_eq!(documented, CHECKS.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn a_suite_may_name_what_this_version_does_not_know() {
    let mut suite = Suite::default();
    suite.checks.push(CheckSpec {
        name: "gripper_colour".into(),
        role: Role::Gate,
        looked_at: true,
        limits: Default::default(),
        outside: None,
    });
    let judgement = judge(&facts(), &suite, &wants());
    assert_eq!((judgement.verdict, judgement.checks.last().unwrap().result), (Verdict::Approved, Grade::NotApplicable));
}

/// The shipped suite and two checks that are made elsewhere.
fn with_outside(fail_below: f64) -> Suite {
    let outside = |name: &str, role: Role| CheckSpec {
        name: name.into(),
        role,
        looked_at: false,
        limits: BTreeMap::new(),
        outside: Some(OutsideTerms { deadline_s: 60 }),
    };
    let mut suite = Suite { fail_below, ..Suite::default() };
    suite.checks.push(outside("grasp", Role::Gate));
    suite.checks.push(outside("light", Role::Part(Part::Images, 1000)));
    suite
}

fn said(result: Grade, score: f64) -> OutsideAnswer {
    let report = OutsideReport { result, score, details: "as it looks".into(), numbers: BTreeMap::new(), findings: vec![] };
    OutsideAnswer::Said(Box::new(report))
}

fn answers(grasp: OutsideAnswer, light: OutsideAnswer) -> OutsideAnswers {
    OutsideAnswers::from([("grasp".to_owned(), grasp), ("light".to_owned(), light)])
}

#[test]
fn what_is_said_elsewhere_counts_as_every_check_does() {
    use Grade::{Fail, NotApplicable, Pass, Warn};
    let judged = |grasp, light| {
        judge_with(
            &facts(),
            &with_outside(0.0),
            &wants(),
            Beside { outside: &answers(grasp, light), word: None, reference: None, twin: Twin::NotLookedFor },
        )
    };
    let good = judged(said(Pass, 1.0), said(Pass, 1.0));
    assert_eq!((good.verdict, good.score), (Verdict::Approved, judge(&facts(), &Suite::default(), &wants()).score));
    let dark = judged(said(Pass, 1.0), said(Warn, 0.2));
    assert!(dark.verdict == Verdict::NeedsInspection && dark.parts[&Part::Images] < 0.25, "{dark:?}");
    assert_eq!(dark.flag.as_deref(), Some("as it looks"));
    let lost = judged(said(Fail, 0.0), said(Pass, 1.0));
    assert_eq!((lost.verdict, lost.flag.as_deref()), (Verdict::Failed, Some("as it looks")));
    let (suite, nobody) = (with_outside(0.0), OutsideAnswers::new());
    assert!(!lacks_answers(&suite, &nobody, &lost) && lacks_answers(&suite, &nobody, &dark));
    let mute = judged(said(NotApplicable, 0.0), said(NotApplicable, 0.0));
    assert_eq!((mute.verdict, mute.score), (Verdict::Approved, good.score));
    // Where nobody was asked, it is as if the checks were not there.
    assert_eq!(judge(&facts(), &with_outside(0.0), &wants()).verdict, Verdict::Approved);
}

#[test]
fn what_was_not_done_elsewhere_approves_nothing_and_fails_nothing() {
    let not_done = || OutsideAnswer::NotDone("nobody came".into());
    let judged = |facts: &Facts, fail_below, light| {
        judge_with(
            facts,
            &with_outside(fail_below),
            &wants(),
            Beside { outside: &answers(not_done(), light), word: None, reference: None, twin: Twin::NotLookedFor },
        )
    };
    let waited = judged(&facts(), 0.0, said(Grade::Pass, 1.0));
    assert_eq!((waited.verdict, waited.score, waited.flag.as_deref()), (Verdict::NeedsInspection, 1.0, Some("nobody came")));
    let grasp = waited.checks.iter().find(|check| check.name == "grasp").unwrap();
    assert_eq!((grasp.result, grasp.score, grasp.passed()), (Grade::NotDone, None, false));
    // A score that would fail it does not: what was not said might have lifted it.
    let low = judged(&facts(), 0.9, said(Grade::Fail, 0.0));
    assert!(low.score < 0.9 && low.verdict == Verdict::NeedsInspection, "{low:?}");
    assert_eq!(low.flag.as_deref(), Some("nobody came"));
    // A gate that is broken here is.
    let gone = judged(&Facts { gone: true, ..facts() }, 0.0, said(Grade::Pass, 1.0));
    assert_eq!(gone.verdict, Verdict::Failed);
    assert!(gone.flag.is_some_and(|flag| flag.contains("object not found")));
}

#[test]
fn a_check_that_is_built_in_is_made_by_nobody_else() {
    let mut suite = with_outside(0.0);
    assert_eq!(unknown(&suite), None);
    suite.checks[0].outside = Some(OutsideTerms { deadline_s: 60 });
    assert!(unknown(&suite).is_some_and(|why| why.contains("mcap_magic is built in")));
}

/// Twenty good recordings, each a little longer than the one before.
fn reference() -> crate::domain::reference::Reference {
    use crate::domain::reference::Learner;
    use crate::domain::{EpisodeId, SopId};
    let mut learner = Learner::default();
    for n in 0..20_u64 {
        let mut good = facts();
        good.end_ns += n * 50_000_000;
        let joints = good.topics.items[0].joints.as_mut().unwrap();
        joints.jump_urad += n * 500;
        joints.jerk_milli = Some(15_800 + n * 20);
        joints.end_urad.items.iter_mut().for_each(|end_urad| *end_urad += n.cast_signed() * 2_000 - 20_000);
        learner.hear(EpisodeId(n.cast_signed()), &good);
    }
    learner.learned((SopId(1), None), (None, None))
}

fn compared(change: impl FnOnce(&mut Facts)) -> Judgement {
    let (mut facts, reference) = (facts(), reference());
    change(&mut facts);
    let beside = Beside {
        outside: &OutsideAnswers::new(),
        word: None,
        reference: Some((crate::domain::QaReferenceId(7), &reference)),
        twin: Twin::Nowhere,
    };
    judge_with(&facts, &Suite::default(), &wants(), beside)
}

const COMPARED: [&str; 5] = ["rate_reference", "type_reference", "jump_outlier", "smoothness", "episode_outlier"];

#[test]
fn without_a_reference_nothing_is_compared_and_with_one_the_verdict_names_it() {
    let (alone, beside) = (judged(|_| {}), compared(|_| {}));
    for name in COMPARED {
        assert_eq!((check(&alone, name).result, check(&beside, name).result), (Grade::NotApplicable, Grade::Pass), "{name}");
        assert_eq!(check(&alone, name).details, "there is no reference");
    }
    assert_eq!(alone.reference, None);
    assert_eq!(beside.reference.map(|named| (named.id.0, named.version)), Some((7, 0)));
    assert_eq!((beside.verdict, beside.score), (Verdict::Approved, 1.0));
    assert_eq!(check(&beside, "shift_drift").result, Grade::NotApplicable);
}

#[test]
fn what_another_episode_has_already_is_no_second_one() {
    let judged = |twin| {
        let beside = Beside { outside: &OutsideAnswers::new(), word: None, reference: None, twin };
        judge_with(&facts(), &Suite::default(), &wants(), beside)
    };
    let result = |judgement: &Judgement| check(judgement, "duplicate_content").result;
    assert_eq!(result(&judged(Twin::NotLookedFor)), Grade::NotApplicable);
    assert_eq!(result(&judged(Twin::found(None))), Grade::Pass);
    let second = judged(Twin::found(Some("3413e052")));
    assert_eq!((second.verdict, second.flag.as_deref()), (Verdict::Failed, Some("the earlier episode 3413e052 has the same content")));
}

#[test]
fn what_is_unusual_warns_and_gates_nothing() {
    let result = |judgement: &Judgement, name| check(judgement, name).result;
    let only = |judgement: &Judgement, name: &str, grade| {
        for other in COMPARED {
            assert_eq!(result(judgement, other), if other == name { grade } else { Grade::Pass }, "{name} and {other}");
        }
        assert_ne!(judgement.verdict, Verdict::Failed, "{name}");
    };
    let arm = |change: fn(&mut TopicFacts)| compared(|facts| change(&mut facts.topics.items[0]));
    only(&arm(|topic| topic.count = 451), "rate_reference", Grade::Pass);
    only(&arm(|topic| topic.count = 440), "rate_reference", Grade::Warn);
    only(&arm(|topic| topic.count = 249), "rate_reference", Grade::Fail);
    only(&arm(|topic| topic.joints.as_mut().unwrap().jump_urad = 80_000), "jump_outlier", Grade::Pass);
    only(&arm(|topic| topic.joints.as_mut().unwrap().jump_urad = 120_000), "jump_outlier", Grade::Warn);
    only(&arm(|topic| topic.joints.as_mut().unwrap().jump_urad = 0), "jump_outlier", Grade::Pass);
    // A little rougher is near enough, and smoother is no fault.
    only(&arm(|topic| topic.joints.as_mut().unwrap().jerk_milli = Some(16_450)), "smoothness", Grade::Pass);
    only(&arm(|topic| topic.joints.as_mut().unwrap().jerk_milli = Some(0)), "smoothness", Grade::Pass);
    let rough = arm(|topic| topic.joints.as_mut().unwrap().jerk_milli = Some(19_000));
    only(&rough, "smoothness", Grade::Warn);
    let told = check(&rough, "smoothness");
    assert_eq!(told.details, "`/joint_states` moves with a log dimensionless jerk of 19.00, usual is 15.98");
    assert_eq!((&told.numbers["log_jerk"], &told.numbers["usual"]), (&19.0.into(), &15.98.into()));
    only(&arm(|topic| topic.joints.as_mut().unwrap().end_urad.items[2] += 90_000), "episode_outlier", Grade::Pass);
    let elsewhere = arm(|topic| topic.joints.as_mut().unwrap().end_urad.items[2] -= 250_000);
    only(&elsewhere, "episode_outlier", Grade::Warn);
    assert_eq!(check(&elsewhere, "episode_outlier").details, "joint 2 of `/joint_states` ends at -0.550 rad, usual is -0.302 rad");
    // Facts of an earlier version have neither, and so has what was learned from them.
    let old = arm(|topic| topic.joints = Some(Joints { dof: 7, steps: 499, jump_urad: 50_000, ..Joints::default() }));
    assert_eq!((result(&old, "smoothness"), result(&old, "episode_outlier")), (Grade::NotApplicable, Grade::Pass));
    only(&arm(|topic| topic.joints.as_mut().unwrap().idle_steps = 24), "episode_outlier", Grade::Pass);
    only(&arm(|topic| topic.joints.as_mut().unwrap().idle_steps = 130), "episode_outlier", Grade::Warn);
    only(&compared(|facts| facts.end_ns += 1_300_000_000), "episode_outlier", Grade::Pass);
    only(&compared(|facts| facts.end_ns += 3_000_000_000), "episode_outlier", Grade::Warn);
    let other = compared(|facts| facts.topics.items[1].message_type = "sensor_msgs/msg/Image".into());
    only(&other, "type_reference", Grade::Fail);
    assert!(
        check(&other, "type_reference")
            .details
            .contains("is of type sensor_msgs/msg/Image, in good episodes of sensor_msgs/msg/CompressedImage")
    );
    let wanted = TaskWants::default();
    let (mut facts, reference) = (facts(), reference());
    facts.topics.items.pop();
    let beside = Beside {
        outside: &OutsideAnswers::new(),
        word: None,
        reference: Some((crate::domain::QaReferenceId(7), &reference)),
        twin: Twin::Nowhere,
    };
    let missing = judge_with(&facts, &Suite::default(), &wanted, beside);
    assert_eq!(check(&missing, "type_reference").details, "`/camera/front` has no messages, and has some in every good episode");
}

mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::reference::Reference;

    fn changed() -> impl Strategy<Value = (Facts, Suite, TaskWants)> {
        let numbers = prop::collection::vec(prop_oneof![0..20u64, any::<u64>()], 16);
        (numbers, prop::collection::vec(0..19usize, 0..3), 0..3usize, any::<bool>(), 0.0..1.0f64).prop_map(
            |(n, damages, tier, wanted, at)| {
                let mut facts = facts();
                facts.tier = [Tier::Summary, Tier::Indexes, Tier::Whole][tier];
                (facts.size_bytes, facts.message_count, facts.start_ns, facts.end_ns) = (n[0], n[1], n[2], n[3]);
                let kinds = [FindingKind::Cut, FindingKind::ChunkCrc, FindingKind::Record, FindingKind::MessageIndex];
                let finding = |kind: usize| Finding { kind: kinds[kind % 4], at: n[4], bytes: n[5], chunk: None, text: "x".into() };
                facts.findings = Listed::of(damages.into_iter().map(finding), FINDINGS_MAX);
                for topic in &mut facts.topics.items {
                    topic.count = n[6];
                    topic.empty = n[7].min(n[6]);
                    let timing = topic.timing.as_mut().unwrap();
                    (timing.first_ns, timing.last_ns, timing.backward, timing.equal) = (n[8], n[9], n[10].min(n[6]), n[11].min(n[6]));
                    timing.intervals =
                        Some(Intervals { median_ns: n[12], p99_ns: n[13], longest_ns: n[14], late: n[15], ..Intervals::default() });
                    if let Some(joints) = &mut topic.joints {
                        (joints.stuck_ns, joints.jump_urad, joints.unmoved, joints.steps) = (n[7], n[8], n[9], n[10]);
                        joints.jerk_milli = (n[11] > 9).then_some(n[12]);
                        joints.end_urad = Listed::of((n[13] > 9).then_some(n[14].cast_signed()), JOINTS_TOLD_MAX);
                    }
                    if let Some(images) = &mut topic.images {
                        (images.bad, images.frozen_ns, images.other_size) = (n[11], n[12], n[13]);
                    }
                }
                let wants = if wanted { wants() } else { TaskWants::default() };
                (facts, Suite { approve_at: at, ..Suite::default() }, wants)
            },
        )
    }

    proptest! {
        /// Facts, suite, task and reference determine the judgement, also after they were stored.
        #[test]
        fn the_same_is_judged_the_same((facts, suite, wants) in changed(), with_reference in any::<bool>()) {
            let reference = with_reference.then(reference);
            let judged = |facts: &Facts, reference: Option<&Reference>| {
                let named = reference.map(|reference| (crate::domain::QaReferenceId(7), reference));
                judge_with(facts, &suite, &wants, Beside { outside: &OutsideAnswers::new(), word: None, reference: named, twin: Twin::NotLookedFor })
            };
            let judgement = judged(&facts, reference.as_ref());
            prop_assert_eq!(&judged(&facts, reference.as_ref()), &judgement);
            let (stored, learned) = (serde_json::to_string(&facts).unwrap(), serde_json::to_string(&reference).unwrap());
            let (read, again): (Facts, Option<Reference>) = (serde_json::from_str(&stored).unwrap(), serde_json::from_str(&learned).unwrap());
            prop_assert_eq!(&judged(&read, again.as_ref()), &judgement);
            prop_assert_eq!(judgement.reference.is_some(), with_reference);
            prop_assert!((0.0..=1.0).contains(&judgement.score));
            let scores = judgement.checks.iter().filter_map(|check| check.score).chain(judgement.parts.values().copied());
            prop_assert!(scores.into_iter().all(|score| (0.0..=1.0).contains(&score)));
        }

        /// A verdict follows from gates, score and what has to be looked at.
        #[test]
        fn a_verdict_is_what_its_results_say((facts, suite, wants) in changed()) {
            let judgement = judge(&facts, &suite, &wants);
            let broken = judgement.checks.iter().any(|check| check.role == Role::Gate && check.result == Grade::Fail);
            prop_assert_eq!(judgement.verdict == Verdict::Failed, broken);
            prop_assert_eq!(judgement.flag.is_none(), judgement.verdict == Verdict::Approved);
        }
    }
}

#[test]
fn what_the_operator_does_not_want_a_person_looks_at_and_a_suite_may_ask_for_more() {
    use crate::domain::operator_word::{Demonstration, OperatorWord, WordVerdict};
    let said = |verdict, demonstration| OperatorWord {
        verdict,
        demonstration,
        note: Some("it fell".into()),
        by: None,
        at: crate::domain::Timestamp::UNIX_EPOCH,
    };
    let (suite, facts, wants) = (Suite::default(), facts(), wants());
    let judged = |suite: &Suite, word: &OperatorWord| {
        judge_with(
            &facts,
            suite,
            &wants,
            Beside { outside: &OutsideAnswers::new(), word: Some(word), reference: None, twin: Twin::NotLookedFor },
        )
    };
    let without = judge(&facts, &suite, &wants);
    assert_eq!(without.verdict, Verdict::Approved);
    for verdict in [WordVerdict::Discard, WordVerdict::Redo] {
        let word = said(verdict, None);
        let judgement = judged(&suite, &word);
        assert_eq!((judgement.verdict, judgement.flag), (Verdict::NeedsInspection, Some(word.reason())));
    }
    // A word that keeps it makes it no better.
    for demonstration in [None, Some(Demonstration::Success), Some(Demonstration::Failure)] {
        let judgement = judged(&suite, &said(WordVerdict::Keep, demonstration));
        assert_eq!((judgement.verdict, judgement.score), (without.verdict, without.score));
    }
    let mut strict = suite.clone();
    let check = strict.checks.iter_mut().find(|check| check.name == "operator_word").unwrap();
    (check.role, check.looked_at) = (Role::Gate, false);
    check.limits.insert("success_wanted".into(), 1.0);
    assert_eq!(judged(&strict, &said(WordVerdict::Discard, None)).verdict, Verdict::Failed);
    assert_eq!(judged(&strict, &said(WordVerdict::Keep, Some(Demonstration::Failure))).verdict, Verdict::Failed);
    assert_eq!(judged(&strict, &said(WordVerdict::Keep, Some(Demonstration::Success))).verdict, Verdict::Approved);
}
