//! What OSS writes and reads as XML.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{CompletedPart, ETag};
use s3s::xml::{DeError, Deserializer};

use super::asked::{Asked, Refusal};
use crate::simulator::cloud::shelf::Part;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Elements with texts, inside one of this name.
pub fn element(name: &str, inner: &[(&str, &str)]) -> String {
    let inner: String = inner.iter().map(|(name, text)| format!("<{name}>{}</{name}>", escaped(text))).collect();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name}>{inner}</{name}>")
}

/// The key as the client wants to read it, and how that is called.
pub fn key_of(asked: &Asked) -> Vec<(&'static str, String)> {
    match asked.parameter("encoding-type") {
        Some("url") => {
            let encoded = utf8_percent_encode(&asked.key, NON_ALPHANUMERIC).to_string();
            vec![("EncodingType", "url".to_owned()), ("Key", encoded)]
        }
        _ => vec![("Key", asked.key.clone())],
    }
}

/// A page of parts, and the number after which the next begins.
pub fn parts(asked: &Asked, upload_id: &str, page: &[(i32, &Part)], after: i32, max: usize, next: Option<i32>) -> String {
    let mut out = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListPartsResult><Bucket>{}</Bucket>", escaped(&asked.bucket));
    let next_marker = next.unwrap_or_default();
    let facts = key_of(asked).into_iter().chain([
        ("UploadId", upload_id.to_owned()),
        ("PartNumberMarker", after.to_string()),
        ("NextPartNumberMarker", next_marker.to_string()),
        ("MaxParts", max.to_string()),
        ("IsTruncated", next.is_some().to_string()),
    ]);
    for (name, text) in facts {
        // Writing to a text does not fail.
        let _ = write!(out, "<{name}>{}</{name}>", escaped(&text));
    }
    for (number, part) in page {
        // Whole seconds: the vendor's client reads no others.
        let at = DateTime::<Utc>::from(part.at).format("%Y-%m-%dT%H:%M:%S.000Z");
        let (etag, bytes) = (&part.etag, part.received.piece.bytes);
        let _ = write!(
            out,
            "<Part><PartNumber>{number}</PartNumber><LastModified>{at}</LastModified><ETag>&quot;{etag}&quot;</ETag><Size>{bytes}</Size>"
        );
        if let Some(crc64) = part.received.crc64 {
            let _ = write!(out, "<HashCrc64ecma>{crc64}</HashCrc64ecma>");
        }
        out.push_str("</Part>");
    }
    out.push_str("</ListPartsResult>");
    out
}

/// The parts that an object is to be made of.
pub fn wanted_parts(xml: &[u8]) -> Result<Vec<CompletedPart>, Refusal> {
    let malformed = |error: DeError| {
        Refusal::new(http::StatusCode::BAD_REQUEST, "MalformedXML", format!("The list of parts cannot be understood: {error}"))
    };
    let mut parts = vec![];
    let mut reader = Deserializer::new(xml);
    let read = reader.named_element("CompleteMultipartUpload", |reader| {
        reader.for_each_element(|reader, name| {
            if name != b"Part" {
                return Err(DeError::UnexpectedTagName);
            }
            let (mut number, mut etag) = (None, None);
            reader.for_each_element(|reader, name| {
                match name {
                    b"PartNumber" => number = Some(reader.content::<i32>()?),
                    b"ETag" => etag = Some(reader.content::<String>()?),
                    _ => return Err(DeError::UnexpectedTagName),
                }
                Ok(())
            })?;
            let etag = etag.map(|etag| ETag::Strong(etag.trim().trim_matches('"').to_owned()));
            parts.push(CompletedPart { part_number: number, e_tag: etag, ..CompletedPart::default() });
            Ok(())
        })
    });
    read.and_then(|()| reader.expect_eof()).map_err(malformed)?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_parts_is_read_with_quotes_and_without() {
        let xml = "<?xml version=\"1.0\"?>\n<CompleteMultipartUpload>\n <Part><PartNumber>1</PartNumber><ETag>\"AB\"</ETag></Part>\
                   <Part><ETag>&quot;CD&quot;</ETag><PartNumber>3</PartNumber></Part><Part><PartNumber>4</PartNumber><ETag>EF</ETag></Part>\
                   </CompleteMultipartUpload>";
        let read = wanted_parts(xml.as_bytes()).unwrap();
        let read: Vec<_> = read.iter().map(|part| (part.part_number.unwrap(), part.e_tag.as_ref().unwrap().value())).collect();
        assert_eq!(read, [(1, "AB"), (3, "CD"), (4, "EF")]);
        for wrong in [
            "",
            "<CompleteMultipartUpload>",
            "<Parts></Parts>",
            "<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
        ] {
            assert_eq!(wanted_parts(wrong.as_bytes()).unwrap_err().code, "MalformedXML", "{wrong}");
        }
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(element("A", &[("B", "a<b>&\"c\"")]).lines().nth(1), Some("<A><B>a&lt;b&gt;&amp;&quot;c&quot;</B></A>"));
    }
}
