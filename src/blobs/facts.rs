//! What is known of an object beside its content.

use chrono::{DateTime, Utc};
use object_store::{Attribute, AttributeValue, Attributes};

/// What the store says about an object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    pub size: u64,
    pub etag: String,
    pub last_modified: DateTime<Utc>,
    pub content_type: Option<String>,
    /// What the uploader claims, in lower-case hex; nothing we have verified.
    pub claimed_sha256: Option<String>,
}

/// Which object: the one seen with this tag, or whatever is there now.
pub type IfMatch<'a> = Option<&'a str>;

/// What is stored beside the content.
#[derive(Clone, Debug, Default)]
pub struct PutFacts {
    pub content_type: Option<String>,
    /// User metadata, by name without its prefix.
    pub metadata: Vec<(String, String)>,
}

impl PutFacts {
    pub(super) fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::new();
        if let Some(content_type) = &self.content_type {
            attributes.insert(Attribute::ContentType, AttributeValue::from(content_type.clone()));
        }
        for (name, value) in &self.metadata {
            attributes.insert(Attribute::Metadata(name.clone().into()), AttributeValue::from(value.clone()));
        }
        attributes
    }
}

/// Quotes are part of the header, and some callers keep the tag without them.
pub fn same_etag(a: &str, b: &str) -> bool {
    a.trim_matches('"') == b.trim_matches('"')
}

pub(super) fn quoted(etag: &str) -> String {
    format!("\"{}\"", etag.trim_matches('"'))
}
