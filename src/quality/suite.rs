//! Suites, and the table of all checks that there are.

use std::collections::BTreeMap;

use super::case::{Case, Outcome};
use super::{container, content, contract, pairs, people, pixels, presence, reference, timing};
use crate::domain::judgement::{CheckSpec, Part, Role, Suite};

/// A check that there is, as the shipped suite has it.
pub struct Check {
    /// In the catalogue of checks.
    pub id: &'static str,
    pub name: &'static str,
    pub role: Role,
    /// What it warns of a person has to look at, whatever the score.
    pub looked_at: bool,
    pub limits: &'static [(&'static str, f64)],
    pub judge: fn(&Case) -> Outcome,
}

const fn gate(id: &'static str, name: &'static str, limits: &'static [(&'static str, f64)], judge: fn(&Case) -> Outcome) -> Check {
    Check { id, name, role: Role::Gate, looked_at: false, limits, judge }
}

type Limits = &'static [(&'static str, f64)];

const fn soft(id: &'static str, name: &'static str, part: Part, weight: u32, limits: Limits, judge: fn(&Case) -> Outcome) -> Check {
    Check { id, name, role: Role::Part(part, weight), looked_at: false, limits, judge }
}

const fn seen(id: &'static str, name: &'static str, part: Part, weight: u32, limits: Limits, judge: fn(&Case) -> Outcome) -> Check {
    Check { id, name, role: Role::Part(part, weight), looked_at: true, limits, judge }
}

use Part::{Duration, Gaps, Images, Topics};
use content::not_yet;

/// Every check: a gate, or a part with the weight in it.
pub const CHECKS: &[Check] = &[
    gate("Q1", "mcap_magic", &[], contract::mcap_magic),
    gate("Q2", "recording_not_empty", &[], contract::recording_not_empty),
    gate("A1", "object_size", &[], container::object_size),
    gate("A2", "content_checksum", &[], container::content_checksum),
    gate("A3", "magics", &[], container::magics),
    gate("A4", "footer", &[], container::footer),
    gate("A5", "summary_crc", &[], container::summary_crc),
    gate("A6", "stats_consistent", &[], container::stats_consistent),
    gate("A7", "chunk_regions", &[], container::chunk_regions),
    gate("A8", "index_consistent", &[], container::index_consistent),
    gate("A9", "chunk_crc", &[], container::chunk_crc),
    gate("A11", "records", &[], container::records),
    gate("A12", "data_crc", &[], container::data_crc),
    gate("A13", "attachment_crc", &[], container::attachment_crc),
    gate("A14", "duplicate_content", &[], reference::duplicate_content),
    gate("B1", "not_empty", &[], presence::not_empty),
    gate("B2", "required_topics", &[("messages_min", 1.0), ("joints_min", 10.0)], presence::required_topics),
    gate("B4", "time_sane", &[("ahead_s", 300.0), ("hours_max", 24.0)], presence::time_sane),
    // What people say stands before what was measured: it is what a person is told first.
    seen("W1", "operator_word", Topics, 1, &[("success_wanted", 0.0)], people::operator_word),
    // What is in the topics.
    seen(
        "A10",
        "sidecar_agrees",
        Topics,
        1,
        &[("duration_share", 0.01), ("duration_s", 0.5), ("silence_s", 5.0)],
        presence::sidecar_agrees,
    ),
    seen("F1", "writer_health", Topics, 1, &[], presence::writer_health),
    seen("B3", "schemas", Topics, 2, &[], presence::schemas),
    soft("B7", "metadata", Topics, 1, &[], presence::metadata),
    soft("C1", "rate", Topics, 4, &[("pass_share", 0.1), ("fail_share", 0.5)], timing::rate),
    soft("C10", "action_state", Topics, 1, &[("pass_share", 0.05), ("behind_s", 0.1)], pairs::action_state),
    soft("F6", "zero_size", Topics, 1, &[], presence::zero_size),
    seen("E1", "finite", Topics, 4, &[], content::finite),
    seen("E2", "dof", Topics, 2, &[], content::dof),
    seen("E3", "stuck", Topics, 4, &[("warn_s", 2.0), ("fail_share", 0.5)], content::stuck),
    soft("E4", "jump", Topics, 2, &[("warn_rad", 0.3), ("fail_rad", 0.5)], content::jump),
    soft("E5", "limits", Topics, 1, &[], not_yet),
    soft("E6", "idle", Topics, 1, &[("pass_share", 0.3), ("pass_s", 3.0)], content::idle),
    soft("E7", "lead_follow", Topics, 1, &[("pass_rad", 0.2), ("lag_ms", 150.0)], pairs::lead_follow),
    soft("F7", "rate_reference", Topics, 1, &[("pass_share", 0.1), ("iqr_times", 1.5), ("fail_share", 0.5)], reference::rate_reference),
    soft("F8", "type_reference", Topics, 1, &[], reference::type_reference),
    soft("F9", "jump_outlier", Topics, 1, &[("z_max", 8.0)], reference::jump_outlier),
    soft("F10", "identical_vectors", Topics, 1, &[("warn", 10.0), ("fail_share", 0.05)], content::identical_vectors),
    soft("F11", "unchanged_joint", Topics, 1, &[], content::unchanged_joint),
    soft("F12", "smoothness", Topics, 1, &[("iqr_times", 1.5), ("tolerance", 0.5)], reference::smoothness),
    soft("F13", "joint_units", Topics, 1, &[("limit_rad", std::f64::consts::PI), ("times", 10.0)], content::joint_units),
    soft("F14", "leader_offset", Topics, 1, &[("pass_rad", 0.1), ("quiet_min", 30.0)], pairs::leader_offset),
    soft("F15", "imu_range", Topics, 1, &[], content::imu_range),
    soft(
        "F16",
        "episode_outlier",
        Topics,
        1,
        &[("iqr_times", 1.5), ("length_share", 0.1), ("static_share", 0.05), ("end_rad", 0.1), ("end_iqr_times", 3.0)],
        reference::episode_outlier,
    ),
    soft("F17", "shift_drift", Topics, 1, &[], reference::shift_drift),
    // How long it takes.
    seen("B5", "duration", Duration, 4, &[("min_s", 3.0), ("max_s", 600.0)], presence::duration),
    seen("B6", "coverage", Duration, 2, &[("pass_ms", 1000.0), ("fail_ms", 5000.0)], presence::coverage),
    // What is missing in between.
    seen("C2", "completeness", Gaps, 5, &[("camera_pass", 0.98), ("joints_pass", 0.95), ("fail", 0.90)], timing::completeness),
    seen("C3", "max_gap", Gaps, 5, &[("pass_ms", 200.0), ("pass_periods", 3.0), ("fail_ms", 1000.0)], timing::max_gap),
    soft("C4", "jitter", Gaps, 2, &[("pass_periods", 2.5), ("fail_periods", 5.0)], timing::jitter),
    seen("C5", "monotonic", Gaps, 2, &[("fail_share", 0.01)], timing::monotonic),
    soft("C6", "sequence_drop", Gaps, 1, &[("pass_share", 0.001)], timing::sequence_drop),
    soft("C7", "latency", Gaps, 1, &[("pass_ms", 100.0)], timing::latency),
    soft("C8", "header_stamp", Gaps, 1, &[("pass_ms", 200.0)], timing::header_stamp),
    seen("C9", "sync_skew", Gaps, 3, &[("pass_ms", 34.0)], timing::sync_skew),
    soft("F2", "late_share", Gaps, 1, &[("pass_share", 0.0), ("fail_share", 0.05)], timing::late_share),
    soft("F3", "missing_run", Gaps, 1, &[("pass", 0.0), ("fail", 2.0)], timing::missing_run),
    soft("F4", "continuity", Gaps, 1, &[("pass", 0.98), ("fail", 0.90)], timing::continuity),
    soft("F5", "equal_times", Gaps, 1, &[], timing::equal_times),
    // What cameras show.
    seen("D1", "codec_header", Images, 4, &[("pass_share", 0.001), ("fail_share", 0.01)], content::codec_header),
    soft("D2", "resolution", Images, 2, &[], content::resolution),
    seen("D3", "decodable", Images, 3, &[], pixels::decodable),
    soft(
        "D4",
        "black_flat",
        Images,
        2,
        &[("dark_luma", 16.0), ("bright_luma", 240.0), ("flat_spread", 8.0), ("pass_share", 0.02), ("fail_share", 0.2)],
        pixels::black_flat,
    ),
    seen("D5", "frozen", Images, 2, &[("warn_s", 0.5), ("fail_s", 2.0)], content::frozen),
    soft("D6", "h26x", Images, 2, &[("key_s", 2.0)], content::h26x),
    soft("F18", "blur", Images, 1, &[("sharp_min", 100.0), ("pass_share", 0.3)], pixels::blur),
    soft("F19", "extreme_luma", Images, 1, &[("pixels_permille", 200.0), ("pass_share", 0.3)], pixels::extreme_luma),
    soft("F20", "frozen_pixels", Images, 1, &[("difference_milli", 100.0), ("pass", 10.0)], pixels::frozen_pixels),
];

/// What this version does not know of a suite's rules.
pub fn unknown(suite: &Suite) -> Option<String> {
    suite.checks.iter().find_map(|spec| {
        let built_in = CHECKS.iter().find(|check| check.name == spec.name);
        if spec.outside.is_some() {
            // Its limits are for the checker to know.
            return built_in.map(|check| format!("the check {} is built in, and no checker elsewhere makes it", check.name));
        }
        let Some(check) = built_in else {
            return Some(format!("there is no check {}", spec.name));
        };
        if let Some(odd) = odd_limit(check, spec) {
            return Some(odd);
        }
        let limit = spec.limits.keys().find(|name| !check.limits.iter().any(|(known, _)| known == name))?;
        let known: Vec<&str> = check.limits.iter().map(|(name, _)| *name).collect();
        Some(format!(
            "the check {} has no limit {limit}; it has: {}",
            spec.name,
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ))
    })
}

/// No limit is larger: a thousand million milliseconds are eleven days.
const LIMIT_MAX: f64 = 1e9;

/// A limit that cannot be meant: below 0, a share above 1, or a good and a bad end the wrong way round.
fn odd_limit(check: &Check, spec: &CheckSpec) -> Option<String> {
    let (name, of) = (&spec.name, |limit: &str| spec.limits.get(limit).copied());
    for (limit, _) in check.limits {
        let most = if limit.ends_with("share") { 1.0 } else { LIMIT_MAX };
        if of(limit).is_some_and(|value| !(0.0..=most).contains(&value)) {
            return Some(format!("the limit {limit} of the check {name} must be from 0 to {most}"));
        }
    }
    check.limits.iter().find_map(|(good, good_default)| {
        let (bad, bad_default) = check.limits.iter().find(|(bad, _)| are_ends(good, bad))?;
        let (from, to) = (of(good).unwrap_or(*good_default), of(bad).unwrap_or(*bad_default));
        let rising = good_default <= bad_default;
        let fits = if rising { from <= to } else { from >= to };
        let side = if rising { "above" } else { "below" };
        (!fits).then(|| format!("the limit {good} of the check {name} ({from}) must not be {side} its {bad} ({to})"))
    })
}

/// Whether one limit is where a check begins to complain, and the other where it has enough.
fn are_ends(good: &str, bad: &str) -> bool {
    let rest = |limit: &str, word: &str| limit.strip_prefix(word).map(str::to_owned);
    let behind = rest(bad, "fail");
    (behind.is_some() && (rest(good, "pass") == behind || rest(good, "warn") == behind))
        || (good.ends_with("_pass") && bad == "fail")
        || matches!((good, bad), ("min_s", "max_s") | ("dark_luma", "bright_luma"))
}

impl Default for Suite {
    /// The one that is shipped.
    fn default() -> Self {
        let spec = |check: &Check| CheckSpec {
            name: check.name.to_owned(),
            role: check.role,
            looked_at: check.looked_at,
            limits: check.limits.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            outside: None,
        };
        Self {
            name: "default".to_owned(),
            version: 1,
            approve_at: 0.90,
            fail_below: 0.0,
            parts: BTreeMap::from([(Topics, 30), (Duration, 20), (Gaps, 20), (Images, 30)]),
            checks: CHECKS.iter().map(spec).collect(),
        }
    }
}
