//! JSON as programs write it that print numbers and texts by hand: a value that no reader understands costs
//! itself, and no other.
//!
//! Sound JSON is read as every reader reads it. Beside it: any encoding that says which it is; numbers that a strict
//! reader refuses and that have one meaning; control characters and other escapes in texts; names and texts of Python;
//! commas too many, comments, and what follows the end. What has no meaning becomes [`ODD`]. Only where the brackets do
//! not say what belongs together, or a text has no end, nothing is known.
//!
//! Time and memory are linear in the text, and the depth is bounded, whatever the text says.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// Stands where a value stood that has no meaning.
pub const ODD: &str = "\u{fffd}";

/// As deep as other readers go; what lies deeper is [`ODD`] as a whole.
const DEPTH_MAX: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    #[error("it ends before its last bracket or quote is closed")]
    Cut,
    #[error("the bracket at byte {at} closes another one")]
    Mismatch { at: usize },
}

/// The first value of a text, and whether something follows it.
pub fn read(bytes: &[u8]) -> Result<(Value, bool), NotJson> {
    let text = decoded(bytes);
    let mut reader = Reader {
        text: &text,
        at: 0,
        last_newline: text.rfind('\n').unwrap_or(0),
        last_comment_end: text.rfind("*/").unwrap_or(0),
        last_apostrophe: text.rfind('\'').unwrap_or(0),
    };
    let value = reader.value(0)?;
    reader.space();
    Ok((value, reader.at < text.len()))
}

fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.as_chunks().0.iter().map(|pair| unit(*pair));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes).into(),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes).into(),
        _ => String::from_utf8_lossy(bytes),
    }
}

fn odd() -> Value {
    Value::String(ODD.to_owned())
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '\u{feff}'
}

fn is_structure(c: char) -> bool {
    matches!(c, ',' | ':' | '[' | ']' | '{' | '}')
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// What begins behind these has no end: it is no comment and no text.
    last_newline: usize,
    last_comment_end: usize,
    last_apostrophe: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// To the first character that fits, or to the end; what was passed.
    fn pass_to(&mut self, fits: impl FnMut(char) -> bool) -> &'a str {
        let rest = self.rest();
        let passed = &rest[..rest.find(fits).unwrap_or(rest.len())];
        self.at += passed.len();
        passed
    }

    /// Over spaces and comments.
    fn space(&mut self) {
        loop {
            self.pass_to(|c| !is_space(c));
            let rest = self.rest();
            let len = if rest.starts_with("//") && self.at < self.last_newline && !self.text[..self.at].ends_with(':') {
                rest.find('\n')
            } else if rest.starts_with("/*") && self.at + 2 <= self.last_comment_end {
                rest[2..].find("*/").map(|end| end + 4)
            } else {
                None
            };
            let Some(len) = len else { return };
            self.at += len;
        }
    }

    fn quote(&self) -> Option<char> {
        match self.peek() {
            Some('\'') if self.at < self.last_apostrophe => Some('\''),
            other => other.filter(|c| *c == '"'),
        }
    }

    /// One value; [`ODD`] where none stands, and then nothing is passed.
    fn value(&mut self, depth: usize) -> Result<Value, NotJson> {
        self.space();
        if let Some(quote) = self.quote() {
            return self.string(quote).map(Value::String);
        }
        match self.peek() {
            None => Err(NotJson::Cut),
            Some('{' | '[') if depth == DEPTH_MAX => self.nested().map(|()| odd()),
            Some('{') => self.object(depth + 1).map(Value::Object),
            Some('[') => self.array(depth + 1).map(Value::Array),
            Some(c) if is_structure(c) => Ok(odd()),
            Some(_) => Ok(meaning(self.word())),
        }
    }

    /// Over everything up to the bracket that closes the one here.
    fn nested(&mut self) -> Result<(), NotJson> {
        let mut open = 0;
        loop {
            self.pass_to(|c| matches!(c, '{' | '[' | '}' | ']' | '"'));
            match self.peek() {
                None => return Err(NotJson::Cut),
                Some('"') => {
                    self.string('"')?;
                    continue;
                }
                Some('{' | '[') => open += 1,
                Some(_) => open -= 1,
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, NotJson> {
        self.at += 1;
        let mut items = vec![];
        loop {
            self.space();
            match self.peek() {
                None => return Err(NotJson::Cut),
                Some('}') => return Err(NotJson::Mismatch { at: self.at }),
                Some(']') => {
                    self.at += 1;
                    return Ok(items);
                }
                Some(',' | ':') => self.at += 1,
                Some(_) => items.push(self.value(depth)?),
            }
        }
    }

    /// What stands where a name belongs and is none is part of the value before it: `1 234`, `3,9`, `12:30`.
    fn object(&mut self, depth: usize) -> Result<Map<String, Value>, NotJson> {
        self.at += 1;
        let mut fields = Map::new();
        let mut last: Option<(String, Value)> = None;
        let mut behind_comma = true;
        loop {
            self.space();
            let Some(c) = self.peek() else { return Err(NotJson::Cut) };
            let name = match (c, self.quote()) {
                (_, Some(quote)) => Some(self.string(quote)?),
                (']', _) => return Err(NotJson::Mismatch { at: self.at }),
                ('}', _) => {
                    self.at += 1;
                    fields.extend(last);
                    return Ok(fields);
                }
                (',', _) => {
                    self.at += 1;
                    behind_comma = true;
                    continue;
                }
                (':', _) => {
                    self.at += 1;
                    None
                }
                ('{' | '[', _) => {
                    self.value(depth)?;
                    None
                }
                _ => Some(self.word().to_owned()).filter(|_| behind_comma),
            };
            self.space();
            match (name, self.peek()) {
                (Some(name), Some(':')) => {
                    self.at += 1;
                    fields.extend(last.replace((name, self.value(depth)?)));
                }
                // A name alone, and no part of a number.
                (Some(_), _) if behind_comma && !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-') => {}
                _ => {
                    if let Some((_, value)) = &mut last {
                        *value = odd();
                    }
                }
            }
            behind_comma = false;
        }
    }

    /// What is in no quotes.
    fn word(&mut self) -> &'a str {
        self.pass_to(|c| is_structure(c) || is_space(c) || c == '"')
    }

    fn string(&mut self, quote: char) -> Result<String, NotJson> {
        self.at += 1;
        let mut text = String::new();
        loop {
            text += self.pass_to(|c| c == quote || c == '\\');
            let Some(c) = self.peek() else { return Err(NotJson::Cut) };
            self.at += 1;
            if c == quote {
                return Ok(text);
            }
            text.push(self.escaped());
        }
    }

    /// What is behind a backslash; the backslash itself, where that means nothing.
    fn escaped(&mut self) -> char {
        let (c, len) = match self.peek() {
            Some(c @ ('"' | '\'' | '\\' | '/')) => (c, 1),
            Some('b') => ('\u{8}', 1),
            Some('f') => ('\u{c}', 1),
            Some('n') => ('\n', 1),
            Some('r') => ('\r', 1),
            Some('t') => ('\t', 1),
            Some('x') => match self.hex(1..3) {
                Some(byte) => (char::from_u32(byte).unwrap_or(char::REPLACEMENT_CHARACTER), 3),
                None => ('\\', 0),
            },
            Some('u') => match self.hex(1..5) {
                Some(high @ 0xD800..=0xDBFF) => match self.hex(7..11).filter(|_| self.rest()[5..].starts_with("\\u")) {
                    Some(low @ 0xDC00..=0xDFFF) => {
                        let point = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                        (char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER), 11)
                    }
                    _ => (char::REPLACEMENT_CHARACTER, 5),
                },
                // The other half of a pair is no character.
                Some(unit) => (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 5),
                None => ('\\', 0),
            },
            _ => ('\\', 0),
        };
        self.at += len;
        c
    }

    fn hex(&self, place: std::ops::Range<usize>) -> Option<u32> {
        let digits = self.rest().get(place)?;
        u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
    }
}

fn meaning(word: &str) -> Value {
    match word {
        "null" | "NULL" | "Null" | "None" | "nil" | "undefined" => Value::Null,
        "true" | "TRUE" | "True" => Value::Bool(true),
        "false" | "FALSE" | "False" => Value::Bool(false),
        _ => {
            let strict = serde_json::from_str::<Number>(word).ok();
            // `.5`, `5.`, `+5`, `007`; not the names of what is no number.
            let plain = || word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-')).then(|| word.parse().ok())?;
            strict.or_else(|| Number::from_f64(plain()?)).map_or_else(odd, Value::Number)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_hold_together_is_not_read() {
        for cut in ["", " ", "{", "[1,", "{\"a\":\"b}", "{\"a\":1", "[\"\\", "[\"\\u", &"[".repeat(100_000)] {
            assert_eq!(read(cut.as_bytes()), Err(NotJson::Cut), "{cut:.10}");
        }
        assert_eq!(read(b"{\"a\":[1}]"), Err(NotJson::Mismatch { at: 7 }));
        assert_eq!(read(b"[{]}"), Err(NotJson::Mismatch { at: 2 }));
    }

    /// A second look at what was passed would take hours here.
    #[test]
    fn no_text_takes_longer_than_its_length() {
        for piece in [
            "[",
            "]",
            "{",
            "{\"a\":",
            "{\"a\":1 ",
            "\"a",
            "\"a\",",
            "//",
            "/*",
            "// \n",
            "/**/",
            "'",
            "'a",
            "'a' ",
            ",",
            ":",
            "\\",
            "\"\\u",
            "\"\\ud800",
            "1",
            "-",
            "a ",
            "a:",
            "a,",
            "{'a",
            "[[\"",
            "\u{feff}",
            "\0",
            "é",
        ] {
            for open in ["", "{", "[", "{\"a\":", "\"", "'"] {
                let _ = read([open, &piece.repeat((1 << 18) / piece.len())].concat().as_bytes());
            }
        }
    }

    fn sound() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["\\PC{0,12}", any::<String>(), "[\\\\\"'/{}\\[\\],: \n\t\u{0}\u{7f}é\u{1f600}]{0,8}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 60, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn sound_json_is_read_as_others_read_it(value in sound(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let others: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read(text.as_bytes()), Ok((others, false)));
        }

        /// Whatever another reader takes, this one takes alike.
        #[test]
        fn what_others_read_is_read_alike(text in r#"[ \n]?\{?\[?("[a\\u"n/]{0,5}"|-?[0-9]{1,20}|[0-9.eE+-]{1,8}|true|null|[\[\]{}:,"' ])*"#) {
            if let Ok(others) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(read(text.as_bytes()), Ok((others, false)));
            }
        }

        #[test]
        fn arbitrary_bytes_are_read_to_an_end(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            text in r#"([{}\[\],:"'\\/*#ux0-9a.+ \n-]|\\ud8|//|/\*|é|"a":){0,80}"#,
        ) {
            let _ = (read(&bytes), read(text.as_bytes()));
        }
    }
}
