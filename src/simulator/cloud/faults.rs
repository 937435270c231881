//! What goes wrong between a factory and its cloud, on purpose and by chance.
//!
//! Shares are of 0 to 1, and of requests. None is asked for unless it is named. The same values come from flags and, while
//! the cloud runs, as JSON from its control port.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Faults")]
pub struct CloudFaults {
    /// How much later each connection is open and each answer begins: `20ms`
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    #[serde(rename = "latency_ms", with = "milliseconds")]
    pub latency: Duration,
    /// How much all connections together may carry, in each direction: `100Mbit`, `12MB`, both a second
    #[arg(long, value_name = "RATE", value_parser = rate)]
    #[serde(rename = "bandwidth_bytes_s")]
    pub bandwidth: Option<u64>,
    /// How much one connection may carry
    #[arg(long, value_name = "RATE", value_parser = rate)]
    #[serde(rename = "connection_bandwidth_bytes_s")]
    pub connection_bandwidth: Option<u64>,
    /// Share of requests whose connection is cut after some of their bytes
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    #[serde(deserialize_with = "share_of_json")]
    pub cut_connections: f64,
    /// Share of requests that are answered with 503 and not carried out
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    #[serde(deserialize_with = "share_of_json")]
    pub slow_downs: f64,
    /// What about half of the 503s say in `Retry-After`; without it none does
    #[arg(long, value_name = "TIME", value_parser = time)]
    #[serde(rename = "retry_after_ms", with = "optional_milliseconds")]
    pub retry_after: Option<Duration>,
    /// Share of requests of a kind that are carried out and not answered, as `complete=0.5`; kinds are put, create, part,
    /// complete, delete, read, tell, and calls of the gateway: exchange-credential, create-upload, recovery, reissue, abort-upload,
    /// complete-upload
    #[arg(long, value_name = "KIND=SHARE", value_delimiter = ',')]
    pub lost_answers: Vec<LostAnswers>,
    /// When nobody answers, counted from the start, as `30s..90s`; may be given several times
    #[arg(long = "outage", value_name = "FROM..TO")]
    pub outages: Vec<Outage>,
    /// What an outage does to connections
    #[arg(long, value_enum, default_value_t = OutageKind::Refuse)]
    pub outage_kind: OutageKind,
    /// An outage right now, until it is changed
    #[arg(skip)]
    pub down: bool,
    /// How long the key is good, from the start and from each renewal
    #[arg(long, value_name = "TIME", value_parser = time)]
    #[serde(rename = "key_lifetime_ms", with = "optional_milliseconds")]
    pub key_lifetime: Option<Duration>,
    /// How long a token of the gateway is good; an hour if it is not said
    #[arg(long, value_name = "TIME", value_parser = time)]
    #[serde(rename = "token_lifetime_ms", with = "optional_milliseconds")]
    pub token_lifetime: Option<Duration>,
    /// How long credentials for OSS are good; an hour if it is not said
    #[arg(long, value_name = "TIME", value_parser = time)]
    #[serde(rename = "sts_lifetime_ms", with = "optional_milliseconds")]
    pub sts_lifetime: Option<Duration>,
    /// How long an upload that was begun at the gateway may take until its object is there; a day if it is not said
    #[arg(long, value_name = "TIME", value_parser = time)]
    #[serde(rename = "session_lifetime_ms", with = "optional_milliseconds")]
    pub session_lifetime: Option<Duration>,
    /// Asked about an upload that is completed, the gateway says that it is to be aborted, and not that only its completion is missing
    #[arg(long)]
    pub abort_completed: bool,
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A whole object.
    Put,
    /// The beginning of an upload in parts.
    Create,
    Part,
    Complete,
    Delete,
    /// An object, a list, or what is known of them.
    Read,
    /// A finished episode, to the receiver.
    Tell,
    // Calls of the gateway.
    ExchangeCredential,
    CreateUpload,
    Recovery,
    Reissue,
    AbortUpload,
    CompleteUpload,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Create => "create",
            Self::Part => "part",
            Self::Complete => "complete",
            Self::Delete => "delete",
            Self::Read => "read",
            Self::Tell => "tell",
            Self::ExchangeCredential => "exchange_credential",
            Self::CreateUpload => "create_upload",
            Self::Recovery => "recovery",
            Self::Reissue => "reissue",
            Self::AbortUpload => "abort_upload",
            Self::CompleteUpload => "complete_upload",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostAnswers {
    pub kind: Operation,
    #[serde(deserialize_with = "share_of_json")]
    pub share: f64,
}

impl FromStr for LostAnswers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, of) = text.split_once('=').ok_or("a kind and its share, as `complete=0.5`")?;
        Ok(Self { kind: <Operation as clap::ValueEnum>::from_str(kind, false)?, share: share(of)? })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutageKind {
    /// Open connections are cut, and new ones refused.
    #[default]
    Refuse,
    /// Connections stand still, and go on after it.
    Swallow,
}

/// From a moment to another, both counted from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Outage {
    pub from: Duration,
    pub to: Duration,
}

impl FromStr for Outage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").ok_or("two times, as `30s..90s`")?;
        let (from, to) = (time(from)?, time(to)?);
        if from < to { Ok(Self { from, to }) } else { Err(format!("`{text}` ends before it begins")) }
    }
}

impl TryFrom<String> for Outage {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Outage> for String {
    fn from(outage: Outage) -> Self {
        outage.to_string()
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms..{}ms", self.from.as_millis(), self.to.as_millis())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetimes {
    pub token: Duration,
    pub sts: Duration,
    pub session: Duration,
}

/// What befalls a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Served,
    SlowDown {
        retry_after: Option<Duration>,
    },
    /// The connection is cut when this share of the bytes have passed.
    Cut {
        after: f64,
    },
    /// Carried out, and not answered.
    AnswerLost,
}

impl CloudFaults {
    pub(super) fn fate(&self, operation: Operation, chance: &mut StdRng) -> Fate {
        let mut happens = |share: f64| share > 0.0 && chance.random_bool(share.min(1.0));
        let lost = self.lost_answers.iter().filter(|lost| lost.kind == operation).map(|lost| lost.share).fold(0.0, f64::max);
        if happens(self.cut_connections) {
            Fate::Cut { after: chance.random() }
        } else if happens(self.slow_downs) {
            Fate::SlowDown { retry_after: self.retry_after.filter(|_| chance.random()) }
        } else if happens(lost) {
            Fate::AnswerLost
        } else {
            Fate::Served
        }
    }

    /// How long what the gateway gives now is good: its tokens, its credentials for OSS, its uploads.
    pub(super) fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            token: self.token_lifetime.unwrap_or(HOUR),
            sts: self.sts_lifetime.unwrap_or(HOUR),
            session: self.session_lifetime.unwrap_or(DAY),
        }
    }

    /// Whether there is an outage, so long after the start; and when that changes, if it does by itself.
    pub(super) fn outage(&self, since_start: Duration) -> (Option<OutageKind>, Option<Duration>) {
        if self.down {
            return (Some(self.outage_kind), None);
        }
        let now = self.outages.iter().filter(|outage| outage.from <= since_start && since_start < outage.to).map(|outage| outage.to).max();
        let next = self.outages.iter().map(|outage| outage.from).filter(|from| *from > since_start).min();
        (now.map(|_| self.outage_kind), now.or(next))
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is from 0 to 1".to_owned()) }
}

fn share_of_json<'de, D: serde::Deserializer<'de>>(json: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(json)?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(serde::de::Error::custom("a share is from 0 to 1")) }
}

/// A number and what it counts.
fn measured(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let unit = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..unit].parse().map_err(|_| format!("`{text}` does not begin with a number"))?;
    Ok((number, text[unit..].trim()))
}

fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = measured(text)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(format!("`{text}` is not a time, as `250ms`, `30s`, `5m`, `1h`")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is too long"))
}

/// Bytes a second.
fn rate(text: &str) -> Result<u64, String> {
    let (number, unit) = measured(text)?;
    let bytes = match unit {
        "bit" => number / 8.0,
        "kbit" => number * 1e3 / 8.0,
        "Mbit" => number * 1e6 / 8.0,
        "Gbit" => number * 1e9 / 8.0,
        "B" => number,
        "kB" => number * 1e3,
        "MB" => number * 1e6,
        "GB" => number * 1e9,
        _ => return Err(format!("`{text}` is not a rate, as `100Mbit`, `1Gbit`, `12MB`")),
    };
    // More than anything carries, and what a number of JSON holds.
    if (1.0..=1e15).contains(&bytes) { Ok(bytes as u64) } else { Err(format!("`{text}` is too little or too much")) }
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

mod optional_milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn times_and_rates_have_units() {
        assert_eq!(time("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(time("1.5m"), Ok(Duration::from_secs(90)));
        assert!(time("20").is_err() && time("s").is_err() && time("-1s").is_err());
        assert_eq!(rate("100Mbit"), Ok(12_500_000));
        assert_eq!(rate("1.5 MB"), Ok(1_500_000));
        assert!(rate("0MB").is_err() && rate("100").is_err() && rate("9999999GB").is_err());
    }

    #[test]
    fn an_outage_begins_and_ends_when_it_is_said() {
        let faults = CloudFaults { outages: vec!["30s..90s".parse().unwrap(), "2m..3m".parse().unwrap()], ..CloudFaults::default() };
        let at = |seconds| faults.outage(Duration::from_secs(seconds));
        let (refuse, after) = (Some(OutageKind::Refuse), |seconds| Some(Duration::from_secs(seconds)));
        assert_eq!((at(0), at(30), at(89)), ((None, after(30)), (refuse, after(90)), (refuse, after(90))));
        assert_eq!((at(90), at(150), at(180)), ((None, after(120)), (refuse, after(180)), (None, None)));
        let down = CloudFaults { down: true, outage_kind: OutageKind::Swallow, ..faults };
        assert_eq!(down.outage(Duration::ZERO), (Some(OutageKind::Swallow), None));
        assert!("90s..30s".parse::<Outage>().is_err() && "30s".parse::<Outage>().is_err());
    }

    #[test]
    fn faults_are_the_same_after_a_trip_through_json() {
        let faults = CloudFaults {
            latency: Duration::from_millis(20),
            bandwidth: Some(12_500_000),
            lost_answers: vec!["complete=0.5".parse().unwrap()],
            outages: vec!["30s..90s".parse().unwrap()],
            retry_after: Some(Duration::from_secs(2)),
            ..CloudFaults::default()
        };
        let json = serde_json::to_string(&faults).unwrap();
        assert_eq!(serde_json::from_str::<CloudFaults>(&json).unwrap(), faults, "{json}");
        assert!(serde_json::from_str::<CloudFaults>(r#"{"slow_downs":1.5}"#).is_err());
        assert!(serde_json::from_str::<CloudFaults>(r#"{"slow_down":1}"#).is_err());
        assert!("get=1".parse::<LostAnswers>().is_err() && "part".parse::<LostAnswers>().is_err());
    }

    #[test]
    fn shares_are_kept_on_average_and_a_seed_repeats_them() {
        let faults = CloudFaults {
            cut_connections: 0.1,
            slow_downs: 0.2,
            retry_after: Some(Duration::from_secs(1)),
            lost_answers: vec!["part=0.5".parse().unwrap()],
            ..CloudFaults::default()
        };
        let fates = |operation| {
            let mut chance = StdRng::seed_from_u64(7);
            (0..10_000).map(|_| faults.fate(operation, &mut chance)).collect::<Vec<_>>()
        };
        let of = fates(Operation::Part);
        let share = |wanted: fn(&Fate) -> bool| of.iter().filter(|fate| wanted(fate)).count() as f64 / 10_000.0;
        assert!((0.08..0.12).contains(&share(|fate| matches!(fate, Fate::Cut { .. }))));
        assert!((0.16..0.20).contains(&share(|fate| matches!(fate, Fate::SlowDown { .. }))));
        assert!((0.08..0.10).contains(&share(|fate| matches!(fate, Fate::SlowDown { retry_after: Some(_) }))));
        assert!((0.33..0.39).contains(&share(|fate| matches!(fate, Fate::AnswerLost))));
        assert!(!fates(Operation::Put).contains(&Fate::AnswerLost));
        assert_eq!(of, fates(Operation::Part));
    }
}
