//! What people search the log by, made into terms: the same for routes and commands.

use std::fmt;

use super::error::ReadError;
use super::events::LogFilter;
use super::queries::Reads;
use crate::domain::Timestamp;
use crate::domain::kinds::Kind;
use crate::domain::pattern;
use crate::eventstore::terms::{Term, VALUE_CHARS_MAX, is_found_by};

/// Values in a payload that one search takes.
pub const CONTENTS_MAX: usize = 4;

/// As it was asked for. What is empty says nothing; everything else must hold.
#[derive(Clone, Debug, Default)]
pub struct Search {
    pub categories: Vec<String>,
    /// `task/17`
    pub stream: Option<String>,
    /// `task/17`, and whatever names it.
    pub about: Option<String>,
    /// Types, or beginnings of types with `*` behind.
    pub types: Vec<String>,
    pub actor: Option<String>,
    pub correlation_id: Option<String>,
    /// `task_id:17`
    pub contents: Vec<String>,
    pub from_position: Option<i64>,
    pub to_position: Option<i64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Why a search cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("{field} {why}")]
    Field { field: &'static str, why: String },
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl SearchError {
    fn of(field: &'static str, why: impl fmt::Display) -> Self {
        Self::Field { field, why: why.to_string() }
    }
}

/// Kind and id of a stream.
fn stream_of<'a>(field: &'static str, text: &'a str) -> Result<(&'static str, &'a str), SearchError> {
    let expected = || SearchError::of(field, "must be a kind and an id with a slash between, as task/17");
    let (category, id) = text.split_once('/').ok_or_else(expected)?;
    if id.is_empty() || id.chars().count() > VALUE_CHARS_MAX {
        return Err(expected());
    }
    Ok((category_of(field, category)?, id))
}

fn category_of(field: &'static str, text: &str) -> Result<&'static str, SearchError> {
    let unknown = || {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        SearchError::of(field, format_args!("names no kind of stream; there are {}", known.join(", ")))
    };
    Kind::parse(text).map(Kind::as_str).ok_or_else(unknown)
}

/// The types that a name or a beginning stands for.
fn types_of(text: &str) -> Result<Vec<&'static str>, SearchError> {
    let types = pattern::types_of(text);
    if types.is_empty() {
        return Err(SearchError::of("type", "names no type of event; docs/events.md lists them, and upload_* means all that begin so"));
    }
    Ok(types)
}

fn content_of(text: &str) -> Result<Term, SearchError> {
    let (key, value) = text.split_once(':').unwrap_or((text, ""));
    if !is_found_by(key) || value.is_empty() || value.chars().count() > VALUE_CHARS_MAX {
        let expected =
            "must be a key and a value with a colon between, as task_id:17; found are ids, object_key, sha256 and words as status";
        return Err(SearchError::of("content", expected));
    }
    Ok(Term::content(key, value))
}

fn actor_of(text: &str) -> Result<Term, SearchError> {
    if text.chars().count() > VALUE_CHARS_MAX {
        return Err(SearchError::of("actor", format_args!("is longer than {VALUE_CHARS_MAX} characters")));
    }
    Ok(Term::actor(text))
}

fn correlation_of(text: &str) -> Result<Term, SearchError> {
    let id = uuid::Uuid::parse_str(text).map_err(|_| SearchError::of("correlation_id", "must be a UUID"))?;
    Ok(Term::correlation(&id.to_string()))
}

impl Search {
    /// Groups of terms, the narrowest first as far as their kind tells.
    async fn groups(&self, reads: &Reads) -> Result<Vec<Vec<Term>>, SearchError> {
        let mut groups = vec![];
        groups.extend(self.correlation_id.as_deref().map(correlation_of).transpose()?.map(|term| vec![term]));
        if let Some(stream) = &self.stream {
            let (category, id) = stream_of("stream", stream)?;
            groups.push(vec![Term::stream(category, id)]);
        }
        if let Some(about) = &self.about {
            let (category, id) = stream_of("about", about)?;
            let terms = reads.log_terms_of(category, id).await?;
            groups.push(terms.unwrap_or_default());
        }
        if self.contents.len() > CONTENTS_MAX {
            return Err(SearchError::of("content", format_args!("may be given {CONTENTS_MAX} times")));
        }
        for content in &self.contents {
            groups.push(vec![content_of(content)?]);
        }
        groups.extend(self.actor.as_deref().map(actor_of).transpose()?.map(|term| vec![term]));
        if !self.types.is_empty() {
            let types = self.types.iter().map(|text| types_of(text)).collect::<Result<Vec<_>, _>>()?;
            groups.push(distinct(types.into_iter().flatten().map(Term::event_type)));
        }
        if !self.categories.is_empty() {
            let terms =
                self.categories.iter().map(|text| category_of("category", text).map(Term::category)).collect::<Result<Vec<_>, _>>()?;
            groups.push(distinct(terms));
        }
        Ok(groups)
    }

    /// In terms. A unit that the log does not know has none: nothing is found.
    pub async fn filter(&self, reads: &Reads) -> Result<LogFilter, SearchError> {
        // Nothing would be found, and it would look as if nothing had happened.
        if self.from_position.zip(self.to_position).is_some_and(|(from, to)| from > to) {
            return Err(SearchError::of("from_position", "is behind to_position"));
        }
        if self.since.zip(self.until).is_some_and(|(since, until)| since > until) {
            return Err(SearchError::of("since", "is later than until"));
        }
        Ok(LogFilter {
            groups: self.groups(reads).await?,
            from_position: self.from_position,
            to_position: self.to_position,
            since: self.since,
            until: self.until,
        })
    }
}

fn distinct(terms: impl IntoIterator<Item = Term>) -> Vec<Term> {
    let mut terms: Vec<_> = terms.into_iter().collect();
    terms.sort_unstable();
    terms.dedup();
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_searched_for_is_named() {
        let field = |result: Result<(), SearchError>| match result {
            Err(SearchError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        for text in ["", "task", "task/", "tasks/1", "/1", &format!("task/{}", "1".repeat(VALUE_CHARS_MAX + 1))] {
            assert_eq!(field(stream_of("stream", text).map(|_| ())), "stream", "{text:?}");
        }
        for text in ["", "name:x", "task_id", "task_id:", "task_ids:1", ":1"] {
            assert_eq!(field(content_of(text).map(|_| ())), "content", "{text:?}");
        }
        for text in ["", "upload", "UPLOAD_*", "*x"] {
            assert_eq!(field(types_of(text).map(|_| ())), "type", "{text:?}");
        }
        assert_eq!(field(correlation_of("17").map(|_| ())), "correlation_id");
    }

    #[test]
    fn a_stream_is_its_kind_and_an_id_with_whatever_in_it() {
        assert_eq!(stream_of("stream", "config_template/1/recorder.yaml").unwrap(), ("config_template", "1/recorder.yaml"));
    }
}
