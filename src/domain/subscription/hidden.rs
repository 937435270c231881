//! What only a receiver and we know, taken out of texts that come from elsewhere: receivers repeat what they were sent, in clothes of their own.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::form_urlencoded::byte_serialize;

use super::Target;

/// Shorter parts of a URL hide nothing, and are in every other word.
const PART_CHARS_MIN: usize = 4;
/// Pieces of such a part, between its signs, are hidden from this length on: a token behind a name.
const PIECE_CHARS_MIN: usize = 8;

/// Texts that are shown nowhere, in every way in which they are written.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// In lower case, the longest first: what is part of another one is hidden with it.
    parts: Vec<String>,
}

impl Hidden {
    /// Path and query of a URL, and each part of them; and secrets.
    pub fn of(target: &Target, secrets: &[String]) -> Self {
        let url = target.url();
        let whole = &url[url::Position::BeforePath..];
        let mut plain: Vec<String> = vec![url.query().unwrap_or_default().to_owned()];
        for segment in url.path().split('/') {
            plain.extend([segment.to_owned(), percent_decode_str(segment).decode_utf8_lossy().into_owned()]);
        }
        for (pair, (name, value)) in url.query().unwrap_or_default().split('&').zip(url.query_pairs()) {
            let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
            plain.extend([pair, raw_name, raw_value, &name, &value].map(str::to_owned));
        }
        let pieces = |part: &String| part.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>();
        let pieces: Vec<String> = plain.iter().flat_map(pieces).filter(|piece| piece.chars().count() >= PIECE_CHARS_MIN).collect();
        plain.retain(|part| part.chars().count() >= PART_CHARS_MIN);
        plain.extend(pieces);
        plain.extend([whole, whole.trim_start_matches('/')].into_iter().filter(|whole| whole.len() > 1).map(str::to_owned));
        plain.extend(secrets.iter().flat_map(|secret| [secret.as_str(), secret.trim_start_matches("whsec_")]).map(str::to_owned));
        let mut parts: Vec<String> = plain.iter().flat_map(|part| written(part)).map(|part| part.to_ascii_lowercase()).collect();
        parts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        parts.dedup();
        Self { parts }
    }

    /// A text without them.
    pub fn taken_out_of(&self, text: &str) -> String {
        let (mut text, mut lower) = (text.to_owned(), text.to_ascii_lowercase());
        for part in &self.parts {
            if lower.contains(part) {
                text = without(&text, &lower, part);
                lower = text.to_ascii_lowercase();
            }
        }
        text
    }

    /// The beginning of a longer text without them: at its end the beginning of one may stand.
    pub fn taken_out_of_beginning(&self, text: &str) -> String {
        let mut text = self.taken_out_of(text);
        let sure = text.len().saturating_sub(self.parts.first().map_or(0, String::len));
        text.truncate((0..=sure).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
        text
    }
}

/// As it is, and as JSON, URLs and pages write it.
fn written(part: &str) -> [String; 7] {
    let json = serde_json::Value::from(part).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let slashes = json.replace('/', "\\/");
    let page = part.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    [
        part.to_owned(),
        in_ascii(&json),
        in_ascii(&slashes),
        slashes,
        json,
        page,
        match part.is_ascii() {
            true => byte_serialize(part.as_bytes()).collect(),
            false => utf8_percent_encode(part, NON_ALPHANUMERIC).to_string(),
        },
    ]
}

/// JSON without letters that are not ASCII.
fn in_ascii(json: &str) -> String {
    let mut text = String::new();
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

/// `lower` is the text in lower case, and `part` is.
fn without(text: &str, lower: &str, part: &str) -> String {
    let (mut left, mut from) = (String::new(), 0);
    for (at, _) in lower.match_indices(part) {
        left.push_str(&text[from..at]);
        left.push('…');
        from = at + part.len();
    }
    left.push_str(&text[from..]);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(url: &str) -> Hidden {
        Hidden::of(&Target::parse(url).unwrap(), &["whsec_c2VjcmV0/2VjcmV0".to_owned()])
    }

    #[test]
    fn a_url_is_taken_out_as_a_whole_and_in_parts() {
        let told = hidden("https://Hooks.example:8443/secret/path?key=hush")
            .taken_out_of("POST /secret/path?key=hush: no; key=hush is wrong; see https://hooks.example:8443/secret/path?key=hush");
        assert!(!told.contains("hush") && told.contains("https://hooks.example:8443…"), "{told}");
        assert_eq!(hidden("https://a/").taken_out_of("a / b"), "a / b");
    }

    #[test]
    fn parts_are_known_in_every_clothing() {
        let hidden = hidden("https://a/T0/h%C3%BCsh%20hush/v1?key=aGVs%2Fbo%2Bw%3D&tok+en=p%20q+rs&q=qqqq%22zzzz&flag");
        for (echo, left) in [
            ("no hook h%C3%BCsh%20hush here", "no hook … here"),
            ("no hook hüsh hush here", "no hook … here"),
            ("no hook h\\u00fcsh hush here", "no hook … here"),
            ("no hook h\\u00FCsh hush here", "no hook … here"),
            ("key: aGVs/bo+w=", "key: …"),
            ("key: AGVS/BO+W=", "key: …"),
            ("key: aGVs%2Fbo%2Bw%3D", "key: …"),
            ("key: aGVs%2fbo%2bw%3d", "key: …"),
            ("{\"key\":\"aGVs\\/bo+w=\"}", "{\"key\":\"…\"}"),
            ("{\"tok en\":\"p q rs\"}", "{\"…\":\"…\"}"),
            ("\"qqqq\\\"zzzz\"", "\"…\""),
            ("<b>qqqq&quot;zzzz</b>", "<b>…</b>"),
            ("T0 v1 key", "T0 v1 key"),
            ("expected whsec_c2VjcmV0/2VjcmV0", "expected …"),
            ("expected c2VjcmV0\\/2VjcmV0!", "expected …!"),
        ] {
            assert_eq!(hidden.taken_out_of(echo), left, "{echo}");
        }
        let token = self::hidden("https://a/bot12345678:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/send");
        assert_eq!(token.taken_out_of("unknown token AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"), "unknown token …");
    }

    #[test]
    fn of_a_text_that_was_cut_no_beginning_of_a_secret_is_left() {
        let hidden = hidden("https://a/rep/S3CRET-0123456789-0123456789");
        let echo = "S3CRET-0123456789-0123456789 ".repeat(100);
        for cut in 0..60 {
            let told = hidden.taken_out_of_beginning(&echo[..echo.len() - cut]);
            assert!(!told.to_lowercase().contains("s3c"), "{cut}: {told}");
        }
        assert_eq!(hidden.taken_out_of_beginning("ü"), "");
    }
}
