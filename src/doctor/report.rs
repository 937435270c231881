//! What was found, as data: for people as text, for machines as JSON.

use std::fmt;

use serde::Serialize;

/// Longer texts are cut: some of them come from a database or a store that may say anything.
const SEEN_CHARS_MAX: usize = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// Works, and may not go on to, or is less safe than it could be.
    Warning,
    /// Something does not work, or something that was accepted can be lost.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        })
    }
}

/// One check and its outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// `database.version`: the same for ever, for programs that look for it.
    pub id: &'static str,
    pub level: Level,
    pub seen: String,
    /// What to do about it; none where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub todo: Option<String>,
}

impl Finding {
    pub fn ok(id: &'static str, seen: impl AsRef<str>) -> Self {
        Self { id, level: Level::Ok, seen: brief(seen.as_ref()), todo: None }
    }

    pub fn warning(id: &'static str, seen: impl AsRef<str>, todo: impl Into<String>) -> Self {
        Self { id, level: Level::Warning, seen: brief(seen.as_ref()), todo: Some(todo.into()) }
    }

    pub fn problem(id: &'static str, seen: impl AsRef<str>, todo: impl Into<String>) -> Self {
        Self { id, level: Level::Problem, seen: brief(seen.as_ref()), todo: Some(todo.into()) }
    }
}

/// On one line, without control characters, and not longer than a person reads.
pub fn brief(text: &str) -> String {
    let mut brief: String = text.chars().take(SEEN_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SEEN_CHARS_MAX).is_some() {
        brief.push('…');
    }
    brief
}

/// An answer to one question of ours, or why there is none.
pub type Asked<T> = Result<T, String>;

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of the program that looked.
    pub version: &'static str,
    pub host: String,
    pub looked_at: chrono::DateTime<chrono::Utc>,
    /// The worst of the findings.
    pub level: Level,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn new(host: String, looked_at: chrono::DateTime<chrono::Utc>, findings: Vec<Finding>) -> Self {
        let level = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        Self { version: env!("CARGO_PKG_VERSION"), host, looked_at, level, findings }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.looked_at.format("%Y-%m-%d %H:%M:%SZ");
        writeln!(f, "Keystone Edge {} on {}, looked at {at}", self.version, self.host)?;
        let mut area = "";
        for finding in &self.findings {
            let its_area = finding.id.split('.').next().unwrap_or_default();
            if its_area != area {
                writeln!(f)?;
                area = its_area;
            }
            writeln!(f, "{:<8} {:<24} {}", finding.level, finding.id, finding.seen)?;
            if let Some(todo) = &finding.todo {
                writeln!(f, "{:<8} {:<24} → {todo}", "", "")?;
            }
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        write!(f, "\nok: {}, warnings: {}, problems: {}", count(Level::Ok), count(Level::Warning), count(Level::Problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_level_of_the_report() {
        let at = chrono::DateTime::UNIX_EPOCH;
        let report = |findings| Report::new("edge".into(), at, findings);
        assert_eq!(report(vec![]).level, Level::Ok);
        let findings = vec![Finding::ok("a.a", "fine"), Finding::problem("a.b", "bad", "mend it"), Finding::warning("b.a", "odd", "look")];
        let report = report(findings);
        assert_eq!(report.level, Level::Problem);
        let text = report.to_string();
        assert!(text.contains("PROBLEM  a.b"), "{text}");
        assert!(text.contains("→ mend it"), "{text}");
        assert!(text.ends_with("ok: 1, warnings: 1, problems: 1"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&json["level"], &json["findings"][0]),
            (&"problem".into(), &serde_json::json!({"id":"a.a","level":"ok","seen":"fine"}))
        );
    }

    #[test]
    fn what_others_say_is_cut_and_stays_on_its_line() {
        let seen = Finding::ok("a", format!("x\nPROBLEM{}\u{1b}[0m", "y".repeat(1000))).seen;
        assert!(!seen.contains(char::is_control) && seen.chars().count() == SEEN_CHARS_MAX + 1, "{seen}");
    }
}
