//! What is taken from the JSON file beside a recording: values that nothing depends on. Each stands for
//! itself; one that makes no sense is left out, and said in a note. How it may be written, [`odd_json`] says.

use serde_json::{Map, Value, json};

use super::odd_json;
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
        let (sidecar, goes_on) = match odd_json::read(bytes) {
            Ok((Value::Object(sidecar), goes_on)) => (sidecar, goes_on),
            Ok(_) => return Self::unread("it is no JSON object"),
            Err(error) => return Self::unread(&format!("it is not JSON: {error}")),
        };
        let mut read = Self::default();
        if goes_on {
            read.notes.push("what follows the object of the sidecar is left out".to_owned());
        }
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
            None | Some(odd_json::ODD) => Err("no text"),
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
        for text in
            ["", "{", "[]", "7", "\"", "\"\\", "\"\\u", "{\"recording\":[]}", "{\"a\":1", "{\"a\":\"b}", "{\"a\":[1}]", &"[".repeat(10_000)]
        {
            let sidecar = read(text);
            assert_eq!((sidecar.notes.len(), sidecar.duration_sec), (1, None), "{text:.20}");
        }
    }

    /// What writers put where a value belongs. Each costs itself, wherever it stands; a text that is no JSON text is read.
    #[test]
    fn an_odd_value_costs_no_other() {
        let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(5_000), close.repeat(5_000));
        let (arrays, objects) = (deep("[", "]"), deep("{\"a\":", "}"));
        for odd in [
            &arrays,
            &objects,
            "\"a\tb\nc\rd\u{1}e\u{7f}f\"",
            ".5",
            "5.",
            "+5",
            "007",
            "0x1f",
            "1.#INF",
            "-1.#IND",
            "-nan(ind)",
            "nan(0x7ff)",
            "NaN",
            "Infinity",
            "1e400",
            "1e",
            "-",
            "None",
            "True",
            "undefined",
            "tru",
            "nullnull",
            "it",
            "#N/A",
            "<none>",
            "12:30:00",
            "3,9",
            "3,.5",
            "1,-5",
            "http://x/y",
            "1 234",
            "1,234,567.5",
            "\"it\\'s\"",
            "\"\\x41\\q\\u12\\uZZZZ\"",
            "\"C:\\data\\new\"",
            "'single'",
            "\"said \"hi\" to\"",
            "[1,2,]",
            "[,]",
            "{\"b\":1,}",
            "{,}",
            "{b:1}",
            "{\"b\"}",
            "{\"b\":}",
            "{1:2}",
            "array([1, 2], dtype=float32)",
            "datetime.datetime(2026, 11, 20)",
            "",
            "/* none */ 1 // one, \"two\"\n",
            "\"\\ud800\"",
        ] {
            let sidecar = read(&format!(
                r#"{{"first":{odd},"recording":{{"in":{odd},"duration_sec":3.9,"recorder_version":"0.4"}},"mid":{odd},"writer_health":{{"a":1}},"last":{odd}}}"#
            ));
            let kept = json!({"recorder": {"writer_health": {"a": 1}, "recording": {"recorder_version": "0.4"}}});
            assert_eq!(
                (sidecar.duration_sec, sidecar.notes.as_slice(), sidecar.episode_metadata()),
                (Some(3.9), [].as_slice(), Some(kept)),
                "{odd:.40}"
            );
        }
    }

    #[test]
    fn what_an_odd_value_means_is_taken_only_where_it_is_plain() {
        let recording = |name: &str, odd: &str| read(&format!(r#"{{"recording":{{"{name}":{odd}}},"writer_health":{{"a":{odd}}}}}"#));
        for (odd, seconds) in [(".5", 0.5), ("5.", 5.0), ("+5", 5.0), ("007", 7.0), ("+0.5e1", 5.0)] {
            let sidecar = recording("duration_sec", odd);
            assert_eq!((sidecar.duration_sec, &sidecar.writer_health), (Some(seconds), &Some(json!({"a": seconds}))), "{odd}");
        }
        for odd in ["None", "undefined", "nil"] {
            let nothing = Sidecar { writer_health: Some(json!({"a": null})), ..Sidecar::default() };
            assert_eq!(recording("duration_sec", odd), nothing, "{odd}");
        }
        for odd in ["3,9", "1 234", "0x1f", "1.#INF", "-nan(ind)", "3.9s", "NaN", "12:30", "", "3.9 \"4\"", "1e400", "3.9 [4]"] {
            for (name, why) in [("duration_sec", "no number"), ("recorder_version", "no text")] {
                let sidecar = recording(name, odd);
                assert_eq!(sidecar.notes, [format!("recording.{name} of the sidecar is left out: {why}")], "{odd}");
                assert_eq!((sidecar.duration_sec, sidecar.recorder_version), (None, None), "{odd}");
                assert_eq!(sidecar.writer_health, Some(json!({"a": "\u{fffd}"})), "{odd}");
            }
        }
        let health = read(r#"{"writer_health":{"a":True,"b":"x\x41\'\q","c":'it"s',"d":"\u0007\ud83d\ude00"}}"#).writer_health;
        assert_eq!(health, Some(json!({"a": true, "b": "xA'\\q", "c": "it\"s", "d": "\u{7}\u{1f600}"})));
    }

    #[test]
    fn it_is_read_however_it_is_encoded_and_whatever_follows() {
        let text = "\u{feff}{\"recording\":{\"duration_sec\":3.9},\"x\":\"工\u{1f600}\"}";
        let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for bytes in [text.as_bytes().to_vec(), wide(u16::to_le_bytes), wide(u16::to_be_bytes)] {
            for end in [&b""[..], b"\0\0\0\0", b"\0"] {
                let sidecar = Sidecar::read(&[&bytes, end].concat());
                assert_eq!(sidecar, Sidecar { duration_sec: Some(3.9), ..Sidecar::default() }, "{end:?}");
            }
        }
        for end in ["\n\0\n", "\u{1a}", " // the end", "\n/* the end */"] {
            assert_eq!(read(&format!("{text}{end}\n")), Sidecar { duration_sec: Some(3.9), ..Sidecar::default() }, "{end:?}");
        }
        for behind in ["{}", "}", "garbage"] {
            let sidecar = read(&format!("{text}\n{behind}"));
            assert_eq!((sidecar.duration_sec, sidecar.notes.len()), (Some(3.9), 1), "{behind}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_read_to_an_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Sidecar::read(&bytes);
        }
    }
}
