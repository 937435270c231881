//! What is taken from the JSON file beside a recording: values that nothing depends on. Each stands for
//! itself; one that makes no sense is left out, and said in a note.

use serde_json::{Map, Value, json};

use crate::devices::wire::tame;
use crate::domain::storable::nested_too_deep;

/// A year: whatever says that it recorded longer does not know.
const DURATION_SEC_MAX: f64 = 366.0 * 86_400.0;
const VERSION_CHARS_MAX: usize = 255;
/// A writer's health is a dozen numbers.
const HEALTH_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, Default, PartialEq)]
pub struct Sidecar {
    pub duration_sec: Option<f64>,
    recorder_version: Option<String>,
    writer_health: Option<Value>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl Sidecar {
    pub fn unread(why: &str) -> Self {
        Self { notes: vec![format!("the sidecar is not read: {why}")], ..Self::default() }
    }

    pub fn read(bytes: &[u8]) -> Self {
        let sidecar = match serde_json::from_slice(&readable(bytes)) {
            Ok(Value::Object(sidecar)) => sidecar,
            Ok(_) => return Self::unread("it is no JSON object"),
            Err(error) => return Self::unread(&format!("it is not JSON: {error}")),
        };
        let mut read = Self::default();
        let none = Map::new();
        let recording = match sidecar.get("recording") {
            Some(Value::Object(recording)) => recording,
            None | Some(Value::Null) => &none,
            Some(_) => {
                read.leave_out("recording", "no object");
                &none
            }
        };
        read.duration_sec = read.take(recording, "recording.duration_sec", |value| match value.as_f64() {
            None => Err("no number"),
            Some(seconds) if (0.0..=DURATION_SEC_MAX).contains(&seconds) => Ok(seconds),
            Some(_) => Err("not between 0 and a year"),
        });
        read.recorder_version = read.take(recording, "recording.recorder_version", |value| match value.as_str() {
            None => Err("no text"),
            Some(text) if text.chars().count() <= VERSION_CHARS_MAX => Ok(text.replace('\0', "\u{fffd}")),
            Some(_) => Err("longer than 255 characters"),
        });
        read.writer_health = read.take(&sidecar, "writer_health", |value| match value {
            Value::Object(_) if nested_too_deep(value) => Err("nested too deep"),
            Value::Object(_) if value.to_string().len() > HEALTH_BYTES_MAX => Err("larger than 16 KiB"),
            Value::Object(_) => Ok(tame(value.clone())),
            _ => Err("no object"),
        });
        read
    }

    /// One value, by the last part of its name. Missing and `null` are nothing to note.
    fn take<T>(&mut self, from: &Map<String, Value>, name: &str, read: impl Fn(&Value) -> Result<T, &'static str>) -> Option<T> {
        let key = name.rsplit('.').next().unwrap_or(name);
        match read(from.get(key).filter(|value| !value.is_null())?) {
            Ok(value) => Some(value),
            Err(why) => {
                self.leave_out(name, why);
                None
            }
        }
    }

    fn leave_out(&mut self, name: &str, why: &str) {
        self.notes.push(format!("{name} of the sidecar is left out: {why}"));
    }

    /// `metadata.recorder`, as the cloud expects it.
    pub fn episode_metadata(&self) -> Option<Value> {
        let mut recorder = Map::new();
        if let Some(health) = &self.writer_health {
            recorder.insert("writer_health".into(), health.clone());
        }
        if let Some(version) = &self.recorder_version {
            recorder.insert("recording".into(), json!({ "recorder_version": version }));
        }
        (!recorder.is_empty()).then(|| json!({ "recorder": recorder }))
    }
}

/// The text with what writers of JSON write and readers refuse made readable: `NaN` and infinities, numbers
/// beyond 64-bit floats, halves of a surrogate pair, bytes that are no UTF-8. As values they make no sense, and
/// are left out as such; as text they would take every other value with them.
fn readable(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(&first) = rest.first() {
        let len = match first {
            b'"' => string(rest, &mut out),
            b'-' | b'+' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => word(rest, &mut out),
            _ => {
                out.push(first);
                1
            }
        };
        rest = &rest[len..];
    }
    out
}

/// A number or a name outside of texts; its length.
fn word(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let len = rest.iter().position(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'-' | b'+' | b'.')).unwrap_or(rest.len());
    let word = &rest[..len];
    let number = std::str::from_utf8(word).ok().and_then(|text| text.parse::<f64>().ok());
    match number {
        // Rust reads `nan` and `inf`, too; a text in its place says that something stood here.
        Some(number) if !number.is_finite() => out.extend(b"\"not a number\""),
        _ => out.extend(word),
    }
    len
}

/// A text with its quotes; its length.
fn string(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 6).filter(|escape| escape.starts_with(b"\\u"))?;
        u16::from_str_radix(std::str::from_utf8(&digits[2..]).ok()?, 16).ok()
    };
    out.push(b'"');
    let mut at = 1;
    while at < rest.len() {
        let len = match rest[at] {
            b'"' => {
                out.push(b'"');
                return at + 1;
            }
            b'\\' => match (unit(at), unit(at + 6)) {
                (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
                (Some(0xD800..=0xDFFF), _) => {
                    out.extend("\u{fffd}".as_bytes());
                    at += 6;
                    continue;
                }
                (Some(_), _) => 6,
                (None, _) => 2,
            },
            _ => 1,
        };
        let end = (at + len).min(rest.len());
        out.extend(&rest[at..end]);
        at = end;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Sidecar {
        Sidecar::read(text.as_bytes())
    }

    #[test]
    fn each_value_stands_for_itself() {
        let health = r#""writer_health":{"state":"normal","drops":0}"#;
        for (duration, why) in [
            (r#""3.9""#, "no number"),
            ("-1", "not between 0 and a year"),
            ("1e300", "not between 0 and a year"),
            ("1e400", "no number"),
            ("NaN", "no number"),
            ("-Infinity", "no number"),
            ("[3.9]", "no number"),
            ("true", "no number"),
        ] {
            let sidecar = read(&format!(r#"{{"recording":{{"duration_sec":{duration},"recorder_version":"0.4.0"}},{health}}}"#));
            assert_eq!(sidecar.notes, [format!("recording.duration_sec of the sidecar is left out: {why}")], "{duration}");
            let kept = json!({"recorder": {"writer_health": {"state": "normal", "drops": 0}, "recording": {"recorder_version": "0.4.0"}}});
            assert_eq!((sidecar.duration_sec, sidecar.episode_metadata()), (None, Some(kept)), "{duration}");
        }
        for version in ["0.4", r#"{"major":0}"#, &format!("\"{}\"", "v".repeat(256))] {
            let sidecar = read(&format!(r#"{{"recording":{{"duration_sec":3.9,"recorder_version":{version}}}}}"#));
            assert_eq!((sidecar.duration_sec, sidecar.notes.len(), sidecar.episode_metadata()), (Some(3.9), 1, None), "{version}");
        }
        let deep = format!("{}{}", "{\"a\":".repeat(90), "1") + &"}".repeat(90);
        for health in ["7", "[]", &deep, &format!("{{\"a\":\"{}\"}}", "x".repeat(20_000))] {
            let sidecar = read(&format!(r#"{{"recording":{{"duration_sec":3.9}},"writer_health":{health}}}"#));
            assert_eq!((sidecar.duration_sec, sidecar.notes.len(), sidecar.episode_metadata()), (Some(3.9), 1, None), "{health}");
        }
    }

    #[test]
    fn what_only_a_strict_reader_refuses_costs_nothing() {
        let whole = r#"{"task":{"scene":"half \ud83d of a pair, a whole one \ud83d\ude00, \"quoted\" \\","p99":1e999},"recording":{"duration_sec":3.9}}"#;
        assert_eq!(read(whole), Sidecar { duration_sec: Some(3.9), ..Sidecar::default() });
        let bytes =
            [b"\xef\xbb\xbf{\"task\":\"\xff\xfe\",\"recording\":{\"duration_sec\":0,\"recorder_version\":null}}".as_slice()].concat();
        assert_eq!(Sidecar::read(&bytes), Sidecar { duration_sec: Some(0.0), ..Sidecar::default() });
        assert_eq!(read(r#"{"recording":null}"#), Sidecar::default());
    }

    #[test]
    fn what_is_no_sidecar_is_noted_and_nothing_else() {
        for text in ["", "{", "[]", "7", "\"", "\"\\", "\"\\u", "{\"recording\":[]}", "{\"a\":tru}", &"[".repeat(10_000)] {
            let sidecar = read(text);
            assert_eq!((sidecar.notes.len(), sidecar.duration_sec), (1, None), "{text:.20}");
        }
    }

    proptest::proptest! {
        #[test]
        fn sound_json_stays_what_it_is(text in "\\PC{0,40}", number in proptest::num::f64::NORMAL, whole in proptest::num::i64::ANY) {
            let value = json!({ &text: [text, number, whole, null, true], "a": {"b": format!("\u{1f600}{text}\n")} });
            let text = value.to_string();
            proptest::prop_assert_eq!(String::from_utf8(readable(text.as_bytes())).unwrap(), text);
        }

        #[test]
        fn arbitrary_bytes_are_read_to_an_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Sidecar::read(&bytes);
        }
    }
}
