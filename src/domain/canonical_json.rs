//! One spelling for a JSON value, so that its hash is the same from every program: RFC 8785 (JCS).
//!
//! Names in the order of their UTF-16 units, no blanks, numbers as ECMAScript writes doubles. What a double cannot hold would be written as
//! another number: those who hash what may have such numbers keep them as texts.

use std::fmt::Write as _;

use serde_json::Value;

/// The canonical text of a value.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, &mut text);
    text
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        // Every number that this type holds is a double, or near one.
        Value::Number(number) => text.push_str(&ecmascript(number.as_f64().unwrap_or_default())),
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            text.push('{');
            for (place, (name, member)) in members.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                write_value(member, text);
            }
            text.push('}');
        }
    }
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            c if c < ' ' => {
                // Writing to a text does not fail.
                let _written = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// The fewest digits that are read back as the same double, as `1.25e3`. Of several that are as few, those nearest to it, and of two that are as near the even
/// ones: the standard library takes either.
fn shortest(number: f64) -> String {
    let few = format!("{number:e}");
    let digits = few.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count();
    let nearest = format!("{number:.*e}", digits.saturating_sub(1));
    if nearest.parse() == Ok(number) { nearest } else { few }
}

/// A double as ECMAScript's `Number::toString` writes it.
fn ecmascript(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let sign = if number < 0.0 { "-" } else { "" };
    let shortest = shortest(number.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // Where the point stands, counted from the first digit.
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let unsigned = match usize::try_from(point) {
        Ok(_) if point >= count && point <= 21 => format!("{digits}{}", zeros(point - count)),
        Ok(point @ 1..=21) => format!("{}.{}", &digits[..point], &digits[point..]),
        _ if (-5..=0).contains(&point) => format!("0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let fraction = if rest.is_empty() { String::new() } else { format!(".{rest}") };
            let direction = if point > 0 { '+' } else { '-' };
            format!("{first}{fraction}e{direction}{}", (point - 1).abs())
        }
    };
    format!("{sign}{unsigned}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Appendix B of the RFC: a double by its bits, and its text.
    #[test]
    fn numbers_are_written_as_the_rfc_lists_them() {
        for (bits, text) in [
            (0x0000_0000_0000_0000_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let number = f64::from_bits(bits);
            assert_eq!(ecmascript(number), text, "{bits:x}");
        }
        assert_eq!(
            canonical(&json!([1, -17, 0.9, 100.0, 9_007_199_254_740_991_i64, u64::MAX])),
            "[1,-17,0.9,100,9007199254740991,18446744073709552000]"
        );
    }

    /// Section 3.2.3 and 3.2.2 of the RFC.
    #[test]
    fn names_and_texts_are_those_of_the_rfc() {
        let sorted = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis",
        });
        let text = canonical(&sorted);
        let order = ["\\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"];
        let places: Vec<usize> = order.iter().map(|name| text.find(&format!("\"{name}\":")).expect("the name")).collect();
        assert!(places.is_sorted(), "{text}");
        assert_eq!(canonical(&json!("\u{20ac}$\u{f}\nA'B\"\\\\\"/")), "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"");
        assert_eq!(
            canonical(&json!({ "b": [true, null, {}], "a": { "d": [], "c": false } })),
            r#"{"a":{"c":false,"d":[]},"b":[true,null,{}]}"#
        );
    }

    #[test]
    fn what_is_canonical_is_read_back_as_the_same_and_stays() {
        let value = json!({ "z": [0.1, 1e-9, 123456.789, "ü\u{7f}\u{1}"], "a": { "工": -1, "é": null } });
        let text = canonical(&value);
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&read, canonical(&read)), (&value, text));
    }
}
