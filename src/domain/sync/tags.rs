//! Tags: what the data platform is told of a recording, name by name. Pure.
//!
//! They come from several places, and a tag that two of them give differently is told of with both: which one is right, a person knows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::super::words::words;

/// Of the platform's own names: the device, and the file.
const DEVICE_ID: &str = "778a6d83c9ec49108537542a570966ee.device_id";
const RAW_FILE: &str = "a206e337ecdf70a93bb611cf6a30c346.raw_file";

const SYNC_CHANNEL: (&str, &str) = ("sync_channel", "keystone_direct");

/// Of a sidecar: what others tell, and what would be too much.
const LEFT_OUT: [&str; 2] = ["task", "topics_summary"];

/// Objects and arrays in each other.
const DEPTH_MAX: usize = 64;

/// As much of a name as an error tells.
const NAME_CHARS_MAX: usize = 100;

words! {
    /// Who gives a tag.
    TagSource {
        Device = "the device in the configuration of the data platform",
        Upload = "this upload",
        Sidecar = "the sidecar",
        Registry = "the registry",
    }
}

/// Why there are no tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    #[error("the tag `{name}` is one thing by {} and another by {}", .first.as_str(), .second.as_str())]
    Conflict { name: String, first: TagSource, second: TagSource },
    #[error("{} has a tag without a name", .0.as_str())]
    NoName(TagSource),
    #[error("the sidecar is no JSON object of Unicode text")]
    NoObject,
    #[error("the sidecar has objects in each other, more than {DEPTH_MAX} deep")]
    TooDeep,
}

/// What tags are made of.
#[derive(Clone, Copy, Debug)]
pub struct TagSources<'a> {
    /// Of the device in the platform's configuration.
    pub device: &'a BTreeMap<String, String>,
    pub asset_id: &'a str,
    /// The key of the recording in the edge storage.
    pub object_key: &'a str,
    /// None where the recording has none.
    pub sidecar: Option<&'a str>,
    /// The id that people and the cloud see.
    pub episode_id: &'a str,
    /// What the registry knows, by the names of the tags. What is blank is no tag.
    pub registry: &'a [(&'static str, Option<String>)],
}

#[derive(Default)]
struct Tags(BTreeMap<String, (String, TagSource)>);

impl Tags {
    fn add(&mut self, source: TagSource, name: String, value: String) -> Result<(), TagError> {
        if name.is_empty() {
            return Err(TagError::NoName(source));
        }
        match self.0.get(&name) {
            Some((before, _)) if *before == value => Ok(()),
            Some((_, first)) => {
                let (first, name) = (*first, name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect());
                Err(TagError::Conflict { name, first, second: source })
            }
            None => {
                self.0.insert(name, (value, source));
                Ok(())
            }
        }
    }

    /// An object of a sidecar, whose names go on from `prefix`.
    fn flatten(&mut self, prefix: &str, object: &RawValue, depth: usize) -> Result<(), TagError> {
        if depth > DEPTH_MAX {
            return Err(TagError::TooDeep);
        }
        for (name, value) in members(object)? {
            if prefix.is_empty() && LEFT_OUT.contains(&&*name) {
                continue;
            }
            let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match kind(value) {
                b'{' => self.flatten(&name, value, depth + 1)?,
                b'[' => {
                    let mut text = String::new();
                    canonical(value, depth + 1, &mut text)?;
                    self.add(TagSource::Sidecar, name, text)?;
                }
                b'"' => self.add(TagSource::Sidecar, name, string(value)?)?,
                b'n' => self.add(TagSource::Sidecar, name, String::new())?,
                // Numbers as they stand: one that is no 64-bit float stays what it is.
                _ => self.add(TagSource::Sidecar, name, value.get().to_owned())?,
            }
        }
        Ok(())
    }
}

/// Tags of a recording. Each name once; what several give alike is fine.
pub fn tags(of: TagSources<'_>) -> Result<BTreeMap<String, String>, TagError> {
    let mut tags = Tags::default();
    for (name, value) in of.device {
        tags.add(TagSource::Device, name.clone(), value.clone())?;
    }
    let file = of.object_key.rsplit('/').next().unwrap_or_default();
    for (name, value) in [(DEVICE_ID, of.asset_id), (RAW_FILE, file)] {
        tags.add(TagSource::Upload, name.to_owned(), value.to_owned())?;
    }
    if let Some(sidecar) = of.sidecar {
        let sidecar: &RawValue = serde_json::from_str(sidecar.trim_start_matches('\u{feff}')).map_err(|_| TagError::NoObject)?;
        match kind(sidecar) {
            b'{' => tags.flatten("", sidecar, 0)?,
            b'n' => {}
            _ => return Err(TagError::NoObject),
        }
    }
    for (name, value) in [("episode_id", of.episode_id), SYNC_CHANNEL] {
        tags.add(TagSource::Upload, name.to_owned(), value.to_owned())?;
    }
    for (name, value) in of.registry {
        if let Some(value) = value.as_deref().map(str::trim).filter(|value| !value.is_empty()) {
            tags.add(TagSource::Registry, (*name).to_owned(), value.to_owned())?;
        }
    }
    Ok(tags.0.into_iter().map(|(name, (value, _))| (name, value)).collect())
}

/// The first byte says what it is.
fn kind(value: &RawValue) -> u8 {
    value.get().trim_start().bytes().next().unwrap_or(b'n')
}

/// In the order of their names; of a name that is there twice the last.
fn members(object: &RawValue) -> Result<BTreeMap<String, &RawValue>, TagError> {
    serde_json::from_str(object.get()).map_err(|_| TagError::NoObject)
}

fn string(value: &RawValue) -> Result<String, TagError> {
    serde_json::from_str(value.get()).map_err(|_| TagError::NoObject)
}

/// Its text without blanks, names in their order, and `<`, `>`, `&` escaped as the predecessor had them.
fn canonical(value: &RawValue, depth: usize, text: &mut String) -> Result<(), TagError> {
    if depth > DEPTH_MAX {
        return Err(TagError::TooDeep);
    }
    match kind(value) {
        b'{' => {
            text.push('{');
            for (number, (name, value)) in members(value)?.into_iter().enumerate() {
                text.push_str(if number > 0 { "," } else { "" });
                quote(&name, text);
                text.push(':');
                canonical(value, depth + 1, text)?;
            }
            text.push('}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| TagError::NoObject)?;
            text.push('[');
            for (number, item) in items.into_iter().enumerate() {
                text.push_str(if number > 0 { "," } else { "" });
                canonical(item, depth + 1, text)?;
            }
            text.push(']');
        }
        b'"' => quote(&string(value)?, text),
        _ => text.push_str(value.get().trim()),
    }
    Ok(())
}

fn quote(string: &str, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of<'a>(device: &'a BTreeMap<String, String>, sidecar: Option<&'a str>) -> TagSources<'a> {
        TagSources { device, asset_id: "asset 7", object_key: "1/robot/2026-11-27/task_1.mcap", sidecar, episode_id: "e-1", registry: &[] }
    }

    fn device(tags: &[(&str, &str)]) -> BTreeMap<String, String> {
        tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn of_sidecar(sidecar: &str) -> Result<BTreeMap<String, String>, TagError> {
        tags(of(&BTreeMap::new(), Some(sidecar)))
    }

    #[test]
    fn tags_come_from_the_device_the_sidecar_and_the_registry() {
        let device = device(&[("site", "上海")]);
        let registry = [("scene", Some(" kitchen ".to_owned())), ("subscene", Some("  ".to_owned())), ("order_name", None)];
        let sidecar = r#"{"version":"1","task":{"id":1},"topics_summary":[1],"recording":{"duration_sec":1.50,"ok":true,"no":null,"empty":{}},"scene":"kitchen"}"#;
        let found = tags(TagSources { registry: &registry, ..of(&device, Some(sidecar)) }).unwrap();
        let expected = [
            ("778a6d83c9ec49108537542a570966ee.device_id", "asset 7"),
            ("a206e337ecdf70a93bb611cf6a30c346.raw_file", "task_1.mcap"),
            ("episode_id", "e-1"),
            ("recording.duration_sec", "1.50"),
            ("recording.no", ""),
            ("recording.ok", "true"),
            ("scene", "kitchen"),
            ("site", "上海"),
            ("sync_channel", "keystone_direct"),
            ("version", "1"),
        ];
        assert_eq!(found.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_number_is_what_it_was() {
        let found = of_sidecar(r#"{"large":9007199254740993,"list":[9007199254740993, 1e400,-0.0]}"#).unwrap();
        assert_eq!((&*found["large"], &*found["list"]), ("9007199254740993", "[9007199254740993,1e400,-0.0]"));
    }

    #[test]
    fn an_array_is_one_tag_in_one_form() {
        let found = of_sidecar(r#"{"a":[ {"b" : 1, "a": "<&>\u2028\u0001\n\"工"}, [ ], {} , null ]}"#).unwrap();
        assert_eq!(found["a"], "[{\"a\":\"\\u003c\\u0026\\u003e\\u2028\\u0001\\n\\\"工\",\"b\":1},[],{},null]");
    }

    #[test]
    fn what_two_places_say_differently_is_told_with_both() {
        let device = device(&[("scene", "a")]);
        let error = tags(of(&device, Some(r#"{"scene":"b"}"#))).unwrap_err();
        let told = "the tag `scene` is one thing by the device in the configuration of the data platform and another by the sidecar";
        assert_eq!(error.to_string(), told);
        assert!(tags(of(&device, Some(r#"{"scene":"a"}"#))).is_ok());
        // Of the sidecar alone: a name with a dot, and a name in a name.
        let conflict = of_sidecar(r#"{"a.b":1,"a":{"b":2}}"#).unwrap_err();
        assert!(matches!(conflict, TagError::Conflict { first: TagSource::Sidecar, second: TagSource::Sidecar, .. }));
        assert!(matches!(of_sidecar(r#"{"episode_id":"another"}"#), Err(TagError::Conflict { .. })));
    }

    #[test]
    fn a_sidecar_is_an_object_or_null() {
        assert_eq!(of_sidecar("null").unwrap().len(), 4);
        assert_eq!(of_sidecar("\u{feff}{\"a\":1}").unwrap()["a"], "1");
        for wrong in ["", "[]", "1", "\"x\"", "{", "{\"a\":}", "nul"] {
            assert_eq!(of_sidecar(wrong), Err(TagError::NoObject), "{wrong}");
        }
        assert_eq!(of_sidecar(r#"{"":1}"#), Err(TagError::NoName(TagSource::Sidecar)));
        assert_eq!(of_sidecar(r#"{"a":{"":1}}"#).unwrap()["a."], "1");
    }

    #[test]
    fn a_sidecar_that_is_deep_is_refused_and_not_followed() {
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            let text = format!("{{\"x\":{}1{}}}", open.repeat(100_000), close.repeat(100_000));
            assert_eq!(of_sidecar(&text), Err(TagError::TooDeep));
        }
    }

    proptest! {
        #[test]
        fn any_array_is_the_same_value_as_before(values in proptest::collection::vec(any::<(String, i64, bool)>(), 0..5)) {
            let array = serde_json::json!(values);
            let found = of_sidecar(&serde_json::json!({ "a": array }).to_string()).unwrap();
            let read: serde_json::Value = serde_json::from_str(&found["a"]).unwrap();
            prop_assert_eq!(read, array);
        }

        #[test]
        fn no_sidecar_ends_the_program(text in ".{0,200}") {
            let _ = of_sidecar(&text);
        }
    }
}
