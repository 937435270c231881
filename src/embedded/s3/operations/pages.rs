//! Lists, page by page.

use s3s::dto::{CommonPrefix, CommonPrefixList, EncodingType, Object, ObjectList, ObjectStorageClass, Timestamp};
use s3s::{S3Result, s3_error};
use uuid::Uuid;

use super::reading::count;
use crate::embedded::s3::answers::etag;
use crate::embedded::s3::layout::allow_key;
use crate::embedded::s3::listing::{self, Asked, PAGE_MAX};
use crate::embedded::s3::multipart::Upload;

pub(super) fn page_size(asked: Option<i32>) -> S3Result<usize> {
    let asked = asked.unwrap_or(PAGE_MAX as i32);
    let asked = usize::try_from(asked).map_err(|_| s3_error!(InvalidArgument, "The number of results must not be negative"))?;
    Ok(asked.min(PAGE_MAX))
}

/// What XML cannot carry goes as in links, where the client asks for it.
pub(super) struct Encoding(pub Option<EncodingType>);

impl Encoding {
    pub fn text(&self, text: &str) -> String {
        if self.0.is_none() {
            return text.to_owned();
        }
        let mut encoded = String::with_capacity(text.len());
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => encoded.push(char::from(byte)),
                _ => encoded += &format!("%{byte:02X}"),
            }
        }
        encoded
    }

    pub fn optional(&self, text: Option<String>) -> Option<String> {
        text.map(|text| self.text(&text))
    }
}

/// Whether any key can begin with it: `..` begins `...`, and `a//` begins none.
pub(super) fn begins_keys(prefix: &str) -> bool {
    prefix.is_empty() || allow_key(prefix).is_ok() || allow_key(&format!("{prefix}x")).is_ok()
}

pub(super) fn contents(page: &mut listing::Page, encoding: &Encoding) -> (Option<ObjectList>, Option<CommonPrefixList>) {
    let objects: ObjectList = page
        .objects
        .drain(..)
        .map(|listed| Object {
            key: Some(encoding.text(&listed.key)),
            size: count(listed.bytes),
            e_tag: listed.etag.as_deref().map(etag),
            last_modified: Some(Timestamp::from(listed.modified)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Object::default()
        })
        .collect();
    let prefixes: CommonPrefixList = page.prefixes.drain(..).map(|prefix| CommonPrefix { prefix: Some(encoding.text(&prefix)) }).collect();
    ((!objects.is_empty()).then_some(objects), (!prefixes.is_empty()).then_some(prefixes))
}

/// A page of the uploads under way.
pub(super) struct UploadsPage<'a> {
    pub uploads: Vec<(&'a Uuid, &'a Upload)>,
    pub prefixes: Vec<String>,
    /// Where the next one goes on: after this key, or this upload of it.
    pub next: Option<(String, String)>,
}

impl<'a> UploadsPage<'a> {
    /// After an upload of a key, or after all of them.
    pub fn of(all: &'a [(Uuid, Upload)], asked: &Asked, after_id: Option<&str>) -> Self {
        let Asked { prefix, after, max, .. } = asked;
        let marked = after_id.and_then(|marker| all.iter().position(|(id, _)| id.to_string() == marker));
        let delimiter = asked.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let (mut uploads, mut prefixes, mut last, mut truncated) = (vec![], vec![], None, false);
        for (nth, (id, upload)) in all.iter().enumerate() {
            let Some(rest) = upload.key.strip_prefix(prefix) else { continue };
            let passed = match marked {
                Some(marked) => nth <= marked,
                None => upload.key <= *after,
            };
            if passed {
                continue;
            }
            let folded =
                delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| format!("{prefix}{}", &rest[..at + delimiter.len()])));
            if folded.as_ref().is_some_and(|folded| folded <= after || prefixes.last() == Some(folded)) {
                continue;
            }
            if uploads.len() + prefixes.len() == *max {
                truncated = *max > 0;
                break;
            }
            match folded {
                Some(folded) => {
                    last = Some((folded.clone(), String::new()));
                    prefixes.push(folded);
                }
                None => {
                    last = Some((upload.key.clone(), id.to_string()));
                    uploads.push((id, upload));
                }
            }
        }
        Self { uploads, prefixes, next: last.filter(|_| truncated) }
    }
}
