//! Which episodes are meant, as queries and bodies say it.
//!
//! A query may repeat texts and is bounded as a whole; in a body every value is one text, with its items separated by commas, however
//! many. What is not understood is refused by name: a filter that was left out would mean more episodes, not less.

use std::fmt::Display;
use std::str::FromStr;

use super::extract::Params;
use super::problem::Problem;
use crate::domain::episode::EpisodeSelection;
use crate::domain::words::UnknownWord;
use crate::domain::{Timestamp, storable};

/// Limits of the contract: on a whole filter of a query, and on each value of any.
const RAW_BYTES_MAX: usize = 8192;
const ITEMS_MAX: usize = 100;
const TEXT_BYTES_MAX: usize = 255;
const NUMBER_BYTES_MAX: usize = 20;

/// Where filters come from: the texts under a name.
pub trait Given {
    /// Whether a filter as a whole is bounded.
    const BOUNDED: bool;
    fn texts(&self, name: &str) -> Vec<&str>;
}

impl Given for Params {
    const BOUNDED: bool = true;

    fn texts(&self, name: &str) -> Vec<&str> {
        self.all(name)
    }
}

/// A selection of episodes.
pub fn selection<G: Given>(given: &G) -> Result<EpisodeSelection, Problem> {
    let ids = Ids(given);
    let selection = EpisodeSelection {
        created_from: instant(given, "created_at_from")?,
        created_to: instant(given, "created_at_to")?,
        text: single(given, "q")?,
        qa_statuses: words(given, "qa_status")?,
        sync_statuses: words(given, "sync_status")?,
        scenes: ids.of("scene_id", crate::domain::SceneId)?,
        sops: ids.of("sop_id", crate::domain::SopId)?,
        robot_types: ids.of("robot_type_id", crate::domain::RobotTypeId)?,
        devices: texts(given, "robot_device_id")?,
        operators: texts(given, "collector_operator_id")?,
        label: single(given, "label")?,
    };
    match (selection.created_from, selection.created_to) {
        (Some(from), Some(to)) if to < from => Err(of("created_at_to", "created_at_to must be after created_at_from")),
        _ => Ok(selection),
    }
}

/// In the words of the contract.
fn of(field: &str, text: impl Display) -> Problem {
    Problem::invalid(text.to_string()).with("field", field)
}

fn first<'a>(given: &'a impl Given, name: &str) -> Option<&'a str> {
    given.texts(name).into_iter().map(str::trim).find(|text| !text.is_empty())
}

fn single(given: &impl Given, name: &str) -> Result<Option<String>, Problem> {
    match first(given, name) {
        Some(text) if text.len() > TEXT_BYTES_MAX => Err(Problem::of_field(name, format_args!("is longer than {TEXT_BYTES_MAX} bytes"))),
        text => Ok(text.map(str::to_owned)),
    }
}

fn instant(given: &impl Given, name: &str) -> Result<Option<Timestamp>, Problem> {
    first(given, name).map(|text| storable::instant(text).map_err(|_| of(name, format_args!("invalid {name}")))).transpose()
}

/// What the texts list, each once. None: nothing.
fn items<G: Given>(name: &str, raw: &[&str], item_max: usize) -> Result<Option<Vec<String>>, Problem> {
    if G::BOUNDED && raw.iter().map(|text| text.len()).sum::<usize>() > RAW_BYTES_MAX {
        return Err(Problem::of_field(name, format_args!("is longer than {RAW_BYTES_MAX} bytes")));
    }
    let mut known = std::collections::HashSet::new();
    let mut items = vec![];
    for item in raw.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|item| !item.is_empty()) {
        if item.len() > item_max {
            return Err(Problem::of_field(name, format_args!("has an item that is longer than {item_max} bytes")));
        }
        if known.insert(item) {
            items.push(item.to_owned());
        }
    }
    if G::BOUNDED && items.len() > ITEMS_MAX {
        return Err(Problem::of_field(name, format_args!("has more than {ITEMS_MAX} items")));
    }
    Ok((!items.is_empty()).then_some(items))
}

pub fn texts<G: Given>(given: &G, name: &str) -> Result<Option<Vec<String>>, Problem> {
    items::<G>(name, &given.texts(name), TEXT_BYTES_MAX)
}

pub fn words<G: Given, T: FromStr<Err = UnknownWord>>(given: &G, name: &str) -> Result<Option<Vec<T>>, Problem> {
    let Some(items) = texts(given, name)? else { return Ok(None) };
    let word = |item: &String| item.parse().map_err(|unknown| Problem::of_field(name, unknown));
    items.iter().map(word).collect::<Result<_, _>>().map(Some)
}

/// Lists of integers: of a repeated name the first value counts.
pub struct Ids<'a, G>(pub &'a G);

impl<G: Given> Ids<'_, G> {
    pub fn of<T>(&self, name: &str, kind: impl Fn(i64) -> T) -> Result<Option<Vec<T>>, Problem> {
        let raw = first(self.0, name);
        let Some(items) = items::<G>(name, raw.as_slice(), NUMBER_BYTES_MAX)? else { return Ok(None) };
        let id = |item: &String| item.parse().ok().filter(|id| *id > 0).map(&kind);
        items.iter().map(|item| id(item).ok_or_else(|| of(name, format_args!("invalid {name} format")))).collect::<Result<_, _>>().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SceneId;
    use crate::domain::episode::{QaStatus, SyncStatus};

    /// What a query, or a body, would say.
    struct Said<'a, const BOUNDED: bool>(&'a [(&'a str, &'a str)]);

    impl<const BOUNDED: bool> Given for Said<'_, BOUNDED> {
        const BOUNDED: bool = BOUNDED;

        fn texts(&self, name: &str) -> Vec<&str> {
            self.0.iter().filter(|(known, _)| *known == name).map(|(_, text)| *text).collect()
        }
    }

    fn read(given: &[(&str, &str)]) -> Result<EpisodeSelection, String> {
        selection(&Said::<true>(given)).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn values_of_one_filter_are_listed_once_and_blanks_are_dropped() {
        let read =
            read(&[("qa_status", " failed,, failed"), ("qa_status", "approved"), ("scene_id", "2, 1,2"), ("scene_id", "x")]).unwrap();
        assert_eq!(read.qa_statuses, Some(vec![QaStatus::Failed, QaStatus::Approved]), "repeated lists of words are one list");
        assert_eq!(read.scenes, Some(vec![SceneId(2), SceneId(1)]), "of integers the first counts");
        assert_eq!(super::selection(&Said::<true>(&[("label", " "), ("q", ""), ("sop_id", ",")])).unwrap(), EpisodeSelection::default());
        assert_eq!(super::selection(&Said::<false>(&[("sync_status", "pending")])).unwrap().sync_statuses, Some(vec![SyncStatus::Pending]));
    }

    #[test]
    fn what_is_not_understood_is_refused_in_the_words_of_the_contract() {
        for (name, text, refused) in [
            ("created_at_from", "yesterday", "invalid created_at_from"),
            ("created_at_to", "2026-01-01", "invalid created_at_to"),
            (
                "qa_status",
                "good",
                "qa_status must be one of pending_qa, qa_running, approved, needs_inspection, inspector_approved, rejected, failed",
            ),
            ("sync_status", "all", "sync_status must be one of not_started, pending, in_progress, completed, failed"),
            ("scene_id", "1,x", "invalid scene_id format"),
            ("scene_id", "0", "invalid scene_id format"),
            ("sop_id", "1.5", "invalid sop_id format"),
            ("robot_type_id", "-1", "invalid robot_type_id format"),
        ] {
            assert_eq!(read(&[(name, text)]), Err(refused.to_owned()), "{name}={text}");
        }
        let times = |from, to| read(&[("created_at_from", from), ("created_at_to", to)]).map(|_| ());
        assert_eq!(times("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"), Err("created_at_to must be after created_at_from".to_owned()));
        assert_eq!(times("2026-01-01T00:00:00.5Z", "2026-01-01T01:00:00.5+01:00"), Ok(()), "equal is fine");
    }

    #[test]
    fn a_query_is_bounded_as_a_whole_and_a_body_in_each_value() {
        let numbers = |many: usize| (1..=many).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(read(&[("scene_id", &numbers(100))]).is_ok());
        assert_eq!(read(&[("scene_id", &numbers(101))]), Err("scene_id has more than 100 items".to_owned()));
        let body = |name: &str, text: &str| selection(&Said::<false>(&[(name, text)])).map_err(|problem| problem.detail().to_owned());
        assert!(body("scene_id", &numbers(5000)).is_ok());
        let (fits, long) = ("a".repeat(255), "a".repeat(256));
        for name in ["robot_device_id", "collector_operator_id"] {
            assert!(read(&[(name, &fits)]).is_ok());
            assert_eq!(body(name, &long), Err(format!("{name} has an item that is longer than 255 bytes")));
        }
        for name in ["label", "q"] {
            assert!(read(&[(name, &fits)]).is_ok());
            assert_eq!(read(&[(name, &long)]), Err(format!("{name} is longer than 255 bytes")));
        }
        assert_eq!(body("sop_id", &"1".repeat(21)), Err("sop_id has an item that is longer than 20 bytes".to_owned()));
        let half = format!("{},", "a".repeat(255)).repeat(17);
        assert!(read(&[("robot_device_id", &half)]).is_ok());
        let twice = read(&[("robot_device_id", &half), ("robot_device_id", &half)]);
        assert_eq!(twice, Err("robot_device_id is longer than 8192 bytes".to_owned()), "all repeats together");
    }
}
