//! Alerts: which figures of a site mean that a person has to look, and since when they do. Pure: figures and time come in.
//!
//! The table is the only place of a threshold. The rules for Prometheus (`docs/alerts/keystone.rules.yml`) are written from it, and the API
//! shows the same alerts, so that they are seen where no Prometheus is.

use std::collections::BTreeMap;

use super::Timestamp;
use super::words::words;

words! {
    AlertName {
        /// Recordings wait on robots for longer than they come.
        UploadQueueLong = "upload_queue_long",
        /// Stations work, and nothing arrives.
        NoUploads = "no_uploads",
        /// Much of what arrives is not what was wanted.
        QaFailureRateHigh = "qa_failure_rate_high",
        /// More is approved than leaves for the cloud.
        CloudQueueLong = "cloud_queue_long",
        /// Work that follows from events is not done.
        OutboxBehind = "outbox_behind",
        /// Deliveries were given up.
        DeadLetters = "dead_letters",
        /// Events get no positions: streams and searches show the past.
        LogBehind = "log_behind",
        /// A transaction keeps Postgres from cleaning up.
        TransactionOld = "transaction_old",
        /// The disk of the data folder fills up.
        DiskFilling = "disk_filling",
    }
    AlertSeverity {
        /// Look today.
        Warning = "warning",
        /// Look now: production stands, or will soon.
        Critical = "critical",
    }
    AlertState {
        /// So far for less than the time after which it is told.
        Pending = "pending",
        Firing = "firing",
    }
}

/// What a process knows of its site, looked up every few seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Tasks whose recording has ended and did not arrive.
    pub uploads_waiting: f64,
    /// For how long stations have been at work without an upload; 0 where none is.
    pub without_upload_s: f64,
    /// Of what was recorded and judged in the last hour, the share that failed; 0 where that is too few to tell.
    pub qa_failure_ratio: f64,
    pub cloud_queue_depth: f64,
    /// The most overdue delivery among those that wait for nobody outside.
    pub outbox_oldest_s: f64,
    pub dead_letters: f64,
    pub log_lag_s: f64,
    pub oldest_transaction_s: f64,
    /// None where no data folder is in use.
    pub disk_free_ratio: Option<f64>,
}

/// Positions follow commits by milliseconds. Behind by more, in seconds, readers of the log see the past.
pub const LOG_LAG_MAX_S: f64 = 10.0;

/// When it is an alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    Above(f64),
    Below(f64),
}

/// An alert as it is meant.
#[derive(Clone, Copy, Debug)]
pub struct Alert {
    pub name: AlertName,
    pub severity: AlertSeverity,
    pub limit: Limit,
    /// For how long it has to be so.
    pub for_s: i64,
    /// The figure, as Prometheus computes it from our measures.
    pub expression: &'static str,
    /// In a sentence, for people.
    pub summary: &'static str,
    /// What to do.
    pub advice: &'static str,
    figure: fn(&Figures) -> Option<f64>,
}

/// Subscribers whose deliveries wait for nobody outside: no robot, receiver or cloud.
pub const INNER_SUBSCRIBERS: [&str; 5] = ["upload_verification", "qa", "salvage", "cloud_queue", "edge_copies"];

pub const ALERTS: [Alert; AlertName::ALL.len()] = [
    Alert {
        name: AlertName::UploadQueueLong,
        severity: AlertSeverity::Warning,
        limit: Limit::Above(5.0),
        for_s: 300,
        expression: "max(keystone_uploads_waiting)",
        summary: "More than 5 recordings wait for their upload",
        advice: "Look at the network of the robots and at their uploads: `GET /api/v1/transfer/devices`",
        figure: |figures| Some(figures.uploads_waiting),
    },
    Alert {
        name: AlertName::NoUploads,
        severity: AlertSeverity::Critical,
        limit: Limit::Above(1_800.0),
        for_s: 60,
        expression: "max(keystone_without_upload_seconds)",
        summary: "Stations work, and no recording has arrived for 30 minutes",
        advice: "See whether robots record, whether they are connected, and whether the object store takes what they send",
        figure: |figures| Some(figures.without_upload_s),
    },
    Alert {
        name: AlertName::QaFailureRateHigh,
        severity: AlertSeverity::Warning,
        limit: Limit::Above(0.1),
        for_s: 300,
        expression: "max(keystone_qa_failure_ratio)",
        summary: "More than 10 % of the recordings of the last hour failed",
        advice: "See which, and why: `GET /api/v1/episodes?qa_status=failed,rejected`",
        figure: |figures| Some(figures.qa_failure_ratio),
    },
    Alert {
        name: AlertName::CloudQueueLong,
        severity: AlertSeverity::Warning,
        limit: Limit::Above(100.0),
        for_s: 300,
        expression: "max(keystone_cloud_queue_depth)",
        summary: "More than 100 episodes wait for the cloud",
        advice: "`GET /api/v1/sync/config` says whether a cloud is away or paused; else the line is too slow, or a limit too low",
        figure: |figures| Some(figures.cloud_queue_depth),
    },
    Alert {
        name: AlertName::OutboxBehind,
        severity: AlertSeverity::Critical,
        limit: Limit::Above(300.0),
        for_s: 60,
        expression: "max(keystone_outbox_oldest_seconds{subscriber=~\"upload_verification|qa|salvage|cloud_queue|edge_copies\"})",
        summary: "Work that follows from events has been due for 5 minutes",
        advice: "Look at the log of the server, at the object store, and at the processors: too few processes, or one that hangs",
        figure: |figures| Some(figures.outbox_oldest_s),
    },
    Alert {
        name: AlertName::DeadLetters,
        severity: AlertSeverity::Warning,
        limit: Limit::Above(0.0),
        for_s: 60,
        expression: "max(keystone_dead_letters_unresolved)",
        summary: "Deliveries were given up",
        advice: "`keystone dead-letters list`: repair what they say, then replay or resolve them",
        figure: |figures| Some(figures.dead_letters),
    },
    Alert {
        name: AlertName::LogBehind,
        severity: AlertSeverity::Critical,
        limit: Limit::Above(LOG_LAG_MAX_S),
        for_s: 60,
        expression: "max(keystone_log_lag_seconds)",
        summary: "Events have been waiting for their positions for 10 seconds",
        advice: "No process leads the log: see whether one runs, and whether Postgres is slow",
        figure: |figures| Some(figures.log_lag_s),
    },
    Alert {
        name: AlertName::TransactionOld,
        severity: AlertSeverity::Warning,
        limit: Limit::Above(300.0),
        for_s: 60,
        expression: "max(keystone_database_oldest_transaction_seconds)",
        summary: "A transaction has been open for 5 minutes, and Postgres cannot clean up",
        advice: "`pg_stat_activity` says whose it is",
        figure: |figures| Some(figures.oldest_transaction_s),
    },
    Alert {
        name: AlertName::DiskFilling,
        severity: AlertSeverity::Critical,
        limit: Limit::Below(0.1),
        for_s: 60,
        expression: "min(keystone_disk_free_ratio)",
        summary: "Less than 10 % of the disk of the data folder is free",
        advice: "Remove recordings that are in the cloud (`POST /api/v1/data-ops/episodes/bulk-cleanup`), or give it a larger disk",
        figure: |figures| figures.disk_free_ratio,
    },
];

impl Limit {
    pub fn is_passed_by(self, figure: f64) -> bool {
        match self {
            Self::Above(limit) => figure > limit,
            Self::Below(limit) => figure < limit,
        }
    }

    pub fn threshold(self) -> f64 {
        match self {
            Self::Above(limit) | Self::Below(limit) => limit,
        }
    }

    /// As Prometheus and people write it.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Above(_) => ">",
            Self::Below(_) => "<",
        }
    }
}

/// An alert that stands at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub alert: &'static Alert,
    pub figure: f64,
    pub since: Timestamp,
    pub state: AlertState,
}

/// What stands, and since when, as one process sees it.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    since: BTreeMap<AlertName, (Timestamp, f64)>,
    looked_at: Option<Timestamp>,
}

impl Alerts {
    /// Takes the figures of this instant.
    pub fn look(&mut self, figures: &Figures, now: Timestamp) {
        for alert in &ALERTS {
            match (alert.figure)(figures).filter(|figure| alert.limit.is_passed_by(*figure)) {
                Some(figure) => self.since.entry(alert.name).or_insert((now, figure)).1 = figure,
                None => {
                    self.since.remove(&alert.name);
                }
            }
        }
        self.looked_at = Some(now);
    }

    /// When figures came last.
    pub fn looked_at(&self) -> Option<Timestamp> {
        self.looked_at
    }

    /// Those that stood when figures came last, the graver and the older ones first.
    pub fn standing(&self) -> Vec<Standing> {
        let Some(now) = self.looked_at else { return vec![] };
        let standing = ALERTS.iter().filter_map(|alert| {
            let (since, figure) = *self.since.get(&alert.name)?;
            let state = if (now - since).num_seconds() >= alert.for_s { AlertState::Firing } else { AlertState::Pending };
            Some(Standing { alert, figure, since, state })
        });
        let mut standing: Vec<Standing> = standing.collect();
        standing.sort_by_key(|one| (one.state == AlertState::Pending, one.alert.severity == AlertSeverity::Warning, one.since));
        standing
    }
}

/// The rules for Prometheus.
pub fn rules() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# Written from the table in src/domain/alert.rs (KEYSTONE_WRITE_DOCS=1 cargo test the_rules_are_those_of_the_table).\ngroups:\n  - name: keystone\n    rules:\n",
    );
    let down = (
        "KeystoneDown",
        "up{job=\"keystone\"} == 0",
        60,
        "critical",
        "A process of Keystone Edge does not answer",
        "See whether it runs: `keystone doctor`",
    );
    let of_table = ALERTS.iter().map(|alert| {
        let expression = format!("{} {} {}", alert.expression, alert.limit.sign(), alert.limit.threshold());
        (prometheus_name(alert.name), expression, alert.for_s, alert.severity.as_str(), alert.summary, alert.advice)
    });
    let all = of_table.chain([(down.0.to_owned(), down.1.to_owned(), down.2, down.3, down.4, down.5)]);
    for (name, expression, for_s, severity, summary, advice) in all {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let _written = write!(
            text,
            "      - alert: {name}\n        expr: {}\n        for: {for_s}s\n        labels:\n          severity: {severity}\n        annotations:\n          summary: {}\n          advice: {}\n",
            quoted(&expression),
            quoted(summary),
            quoted(advice)
        );
    }
    text
}

/// `no_uploads` → `KeystoneNoUploads`.
pub fn prometheus_name(name: AlertName) -> String {
    let words = name.as_str().split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
    std::iter::once("Keystone".to_owned()).chain(words).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone as _, Utc};

    use super::*;
    use crate::domain::routing::SubscriberName;

    fn at(second: i64) -> Timestamp {
        Utc.timestamp_opt(1_700_000_000 + second, 0).unwrap()
    }

    #[test]
    fn each_alert_stands_once_in_the_table_and_its_limits_are_the_roadmaps() {
        for (name, alert) in AlertName::ALL.iter().zip(&ALERTS) {
            assert_eq!(*name, alert.name);
        }
        let limit = |name: AlertName| ALERTS.iter().find(|alert| alert.name == name).unwrap().limit;
        assert_eq!(limit(AlertName::UploadQueueLong), Limit::Above(5.0));
        assert_eq!(limit(AlertName::QaFailureRateHigh), Limit::Above(0.1));
        assert_eq!(limit(AlertName::NoUploads), Limit::Above(30.0 * 60.0));
        assert_eq!(limit(AlertName::CloudQueueLong), Limit::Above(100.0));
    }

    #[test]
    fn an_alert_is_pending_then_fires_and_is_gone_when_its_figure_is_good_again() {
        let mut alerts = Alerts::default();
        let bad = Figures { without_upload_s: 1_801.0, dead_letters: 2.0, ..Figures::default() };
        alerts.look(&bad, at(0));
        assert_eq!(alerts.standing().iter().map(|one| one.state).collect::<Vec<_>>(), [AlertState::Pending; 2]);
        alerts.look(&Figures { dead_letters: 3.0, ..bad }, at(60));
        let standing = alerts.standing();
        assert_eq!(standing[0].alert.name, AlertName::NoUploads, "what is critical comes first");
        assert_eq!((standing[1].state, standing[1].figure, standing[1].since), (AlertState::Firing, 3.0, at(0)));
        alerts.look(&Figures::default(), at(61));
        assert!(alerts.standing().is_empty());
        // It begins anew.
        alerts.look(&bad, at(62));
        assert!(alerts.standing().iter().all(|one| one.since == at(62) && one.state == AlertState::Pending));
    }

    #[test]
    fn a_figure_at_its_limit_is_good_and_one_that_nobody_knows_is_no_alert() {
        let at_limits = Figures {
            uploads_waiting: 5.0,
            without_upload_s: 1_800.0,
            qa_failure_ratio: 0.1,
            cloud_queue_depth: 100.0,
            outbox_oldest_s: 300.0,
            log_lag_s: 10.0,
            oldest_transaction_s: 300.0,
            disk_free_ratio: Some(0.1),
            dead_letters: 0.0,
        };
        let mut alerts = Alerts::default();
        for figures in [at_limits, Figures { disk_free_ratio: None, ..at_limits }] {
            alerts.look(&figures, at(0));
            assert!(alerts.standing().is_empty(), "{:?}", alerts.standing());
        }
        alerts.look(&Figures { disk_free_ratio: Some(0.09), ..at_limits }, at(1));
        alerts.look(&Figures { disk_free_ratio: Some(0.05), ..at_limits }, at(1) + TimeDelta::seconds(60));
        assert_eq!(alerts.standing()[0].state, AlertState::Firing);
    }

    #[test]
    fn deliveries_that_wait_for_nobody_outside_are_those_of_subscribers_without_destinations() {
        let inner: Vec<&str> = SubscriberName::ALL.iter().filter(|name| !name.has_destinations()).map(|name| name.as_str()).collect();
        assert_eq!(inner, INNER_SUBSCRIBERS);
        let rule = ALERTS.iter().find(|alert| alert.name == AlertName::OutboxBehind).unwrap().expression;
        assert!(rule.contains(&format!("\"{}\"", INNER_SUBSCRIBERS.join("|"))), "{rule}");
    }

    #[test]
    fn the_page_has_each_alert_with_its_time_and_severity() {
        let page = include_str!("../../docs/alerts.md");
        for alert in &ALERTS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", alert.name.as_str()))).expect("a row");
            assert!(row.ends_with(&format!("| {} min | {} |", alert.for_s / 60, alert.severity.as_str())), "{row}");
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), ALERTS.len());
    }

    #[test]
    fn the_rules_are_those_of_the_table() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts/keystone.rules.yml");
        if std::env::var_os("KEYSTONE_WRITE_DOCS").is_some() {
            std::fs::write(file, rules()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), rules(), "KEYSTONE_WRITE_DOCS=1 writes it");
    }
}
