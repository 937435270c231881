//! Secrets that are written out in a text which anybody may read, as config templates are.
//!
//! A template says `secret_key: "{{ store_secret_key }}"`, and each robot puts in its own. What stands there instead is
//! found by the names that programs give their secrets. Templates are no YAML before they are rendered, so
//! lines are read, not documents: `name: value`, `name=value`, `{"name": "value"}`, and a value on the lines below.
//! Comments are prose and left alone, but for what is recognisable as a secret of ours anywhere.

use std::borrow::Cow;
use std::ops::Range;

/// What kind of secret a name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    StoreAccessKey,
    StoreSecretKey,
    Token,
    /// A secret that no placeholder stands for.
    Other,
}

impl Kind {
    /// What a robot replaces by its own.
    pub fn placeholder(self) -> Option<&'static str> {
        match self {
            Self::StoreAccessKey => Some("{{ store_access_key }}"),
            Self::StoreSecretKey => Some("{{ store_secret_key }}"),
            Self::Token => Some("{{ ws_client_auth_token }}"),
            Self::Other => None,
        }
    }

    fn of(name: &str) -> Option<Self> {
        let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| plain.ends_with(ending));
        if ends(&["secretkey", "secretaccesskey"]) {
            Some(Self::StoreSecretKey)
        } else if ends(&["accesskey", "accesskeyid"]) {
            Some(Self::StoreAccessKey)
        } else if ends(&["token"]) {
            Some(Self::Token)
        } else if ends(&[
            "secret",
            "password",
            "passwd",
            "passphrase",
            "apikey",
            "privatekey",
            "credential",
            "credentials",
            "authorization",
        ]) {
            Some(Self::Other)
        } else {
            None
        }
    }
}

/// A secret written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// Counted from 1.
    pub line: usize,
    /// The name it stands under; what it looks like, where it stands under none.
    pub name: String,
    pub kind: Kind,
    /// Where its value is, in bytes of the text.
    pub value: Range<usize>,
}

/// Names longer than this are not repeated in full.
const NAME_CHARS_MAX: usize = 64;

/// Secrets of ours can be told by how they begin, wherever they stand; a mention of the prefix alone is none.
const RECOGNISABLE: [(&str, Kind); 2] = [("kws_v1_", Kind::Token), ("kss_v1_", Kind::StoreSecretKey)];
const RECOGNISABLE_CHARS_MIN: usize = 20;

/// What replaces a placeholder while lines are read: a character that no template needs.
const FILLED: char = '\u{1}';

/// Every secret written out in `text`, in its order.
pub fn literals(text: &str) -> Vec<Literal> {
    let read = blank_placeholders(text);
    let mut found = vec![];
    let mut lines = Vec::new();
    let mut start = 0;
    for line in read.split_inclusive('\n') {
        lines.push((start, line.trim_end_matches(['\n', '\r'])));
        start += line.len();
    }
    for (n, &(start, line)) in lines.iter().enumerate() {
        let code = &line[..comment_start(line)];
        for (name, value) in entries(code) {
            let Some(kind) = Kind::of(name) else { continue };
            let value = match &code[value.clone()] {
                "" | "|" | ">" | "|-" | ">-" | "|+" | ">+" => below(&lines[n + 1..], indent(line)),
                _ => Some(start + value.start..start + value.end),
            };
            if let Some(value) = value.filter(|value| is_literal(&read[value.clone()])) {
                found.push(Literal { line: n + 1, name: name.chars().take(NAME_CHARS_MAX).collect(), kind, value });
            }
        }
        if let Some(value) = password_in_url(code) {
            found.push(Literal { line: n + 1, name: "URL".into(), kind: Kind::Other, value: start + value.start..start + value.end });
        }
        for (prefix, kind) in RECOGNISABLE {
            for (at, _) in line.match_indices(prefix) {
                let value = start + at..start + at + word_len(&line[at..]);
                let known = found.iter().any(|known| known.value.start <= value.start && value.end <= known.value.end);
                if value.len() >= RECOGNISABLE_CHARS_MIN && !known {
                    found.push(Literal { line: n + 1, name: prefix.into(), kind, value });
                }
            }
        }
    }
    found.sort_by_key(|literal| literal.value.start);
    found
}

/// The text as it may be shown to anybody: secrets that are `known` give way to placeholders. One under the name of a
/// store key becomes the robot's own; what stands elsewhere cannot be rendered any more, which is noticed.
pub fn without<'a>(text: &'a str, known: &[String]) -> Cow<'a, str> {
    if !known.iter().any(|secret| text.contains(secret.as_str())) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for literal in literals(text) {
        let secret = known.iter().any(|secret| text[literal.value.clone()].contains(secret.as_str()));
        let replaced = match literal.kind {
            // Only the two together are a key.
            Kind::StoreAccessKey => true,
            Kind::StoreSecretKey => secret,
            Kind::Token | Kind::Other => false,
        };
        if let Some(placeholder) = literal.kind.placeholder().filter(|_| replaced && literal.value.start >= from) {
            shown += &text[from..literal.value.start];
            shown += placeholder;
            from = literal.value.end;
        }
    }
    shown += &text[from..];
    for secret in known {
        shown = shown.replace(secret.as_str(), "{{ removed_secret }}");
    }
    Cow::Owned(shown)
}

/// The text with each `{{ placeholder }}` filled, and as long as before.
fn blank_placeholders(text: &str) -> String {
    let mut read = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, after)) = after.split_once("}}").filter(|(inside, _)| !inside.contains('\n')) else {
            read += before;
            read += "{{";
            rest = after;
            continue;
        };
        read += before;
        read.extend(std::iter::repeat_n(FILLED, inside.len() + 4));
        rest = after;
    }
    read + rest
}

/// Where the comment of a line begins; its end, where it has none.
fn comment_start(line: &str) -> usize {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return at,
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
        before = c;
    }
    line.len()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn word_len(text: &str) -> usize {
    text.find(|c: char| !is_name(c)).unwrap_or(text.len())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

/// Names with the values that follow them on the same line.
fn entries(line: &str) -> Vec<(&str, Range<usize>)> {
    let mut found = vec![];
    let mut at = 0;
    while let Some(skip) = line[at..].find(is_name) {
        let begin = at + skip;
        let end = begin + word_len(&line[begin..]);
        at = end;
        let after = line[end..].trim_start_matches(['"', '\'']).trim_start();
        let Some(value) = after.strip_prefix([':', '=']) else { continue };
        let value = value.trim_start();
        let start = line.len() - value.len();
        let depth = |open: [char; 2]| line[..begin].matches(open).count();
        let in_flow = depth(['{', '[']) > depth(['}', ']']);
        found.push((&line[begin..end], start..start + value_len(value, in_flow)));
    }
    found
}

/// How long a value is: to its closing quote, to the end of its place in a flow, or to the end of the line.
fn value_len(value: &str, in_flow: bool) -> usize {
    if let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        return value[1..].find(quote).map_or(value.len(), |end| end + 2);
    }
    value.find([',', '}', ']']).filter(|_| in_flow).map_or(value, |end| &value[..end]).trim_end().len()
}

/// The value of a name that stands on the lines below it, further in; a mapping there has names of its own.
fn below(lines: &[(usize, &str)], outer: usize) -> Option<Range<usize>> {
    let &(start, line) = lines.iter().find(|(_, line)| !line.trim().is_empty())?;
    let code = line[..comment_start(line)].trim_end();
    (indent(code) > outer && entries(code).is_empty() && !code.trim().is_empty()).then(|| start + indent(code)..start + code.len())
}

/// Nothing, a placeholder, a switch or a reference to the environment are no secrets.
fn is_literal(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']).trim();
    let harmless = value.is_empty() || value.contains(FILLED) || value.starts_with('$') || value.starts_with(['{', '[']);
    !harmless && !["null", "~", "true", "false", "yes", "no"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// `scheme://name:password@host`.
fn password_in_url(line: &str) -> Option<Range<usize>> {
    for (at, _) in line.match_indices("://") {
        let begin = at + 3;
        let end = line[begin..].find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'')).map_or(line.len(), |end| begin + end);
        let Some((login, _)) = line[begin..end].rsplit_once('@') else { continue };
        let Some((name, password)) = login.split_once(':') else { continue };
        if is_literal(password) {
            let start = begin + name.len() + 1;
            return Some(start..start + password.len());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String, Kind, &str)> {
        literals(text).into_iter().map(|literal| (literal.line, literal.name, literal.kind, &text[literal.value])).collect()
    }

    #[test]
    fn what_is_written_out_is_found_however_it_is_written() {
        use Kind::{Other, StoreAccessKey, StoreSecretKey, Token};
        for (text, name, kind, value) in [
            ("secret_key: hunter2", "secret_key", StoreSecretKey, "hunter2"),
            ("  secret_key : \"hun#ter2\"  # from the safe", "secret_key", StoreSecretKey, "\"hun#ter2\""),
            ("s3: { endpoint: x, secretKey: hunter2, part: 5 }", "secretKey", StoreSecretKey, "hunter2"),
            (r#"{"aws_secret_access_key":"hunter2"}"#, "aws_secret_access_key", StoreSecretKey, "\"hunter2\""),
            ("access_key: 'keystone'", "access_key", StoreAccessKey, "'keystone'"),
            ("args: [--auth-token=abc, -v]", "--auth-token", Token, "abc"),
            ("    auth_token: kws", "auth_token", Token, "kws"),
            ("password: one, two] three", "password", Other, "one, two] three"),
            ("password:\n    hunter2\nuser: me", "password", Other, "hunter2"),
            ("password: |\n  hunter2", "password", Other, "hunter2"),
            ("- api_key: abc", "api_key", Other, "abc"),
            ("url: http://me:hunter2@edge:9000/x", "URL", Other, "hunter2"),
            ("# kws_v1_aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "kws_v1_", Token, "kws_v1_aaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("note: kss_v1_0123456789abcdef0123", "kss_v1_", StoreSecretKey, "kss_v1_0123456789abcdef0123"),
        ] {
            assert_eq!(found(text), [(1, name.to_owned(), kind, value)], "{text}");
        }
        let two = "a: 1\naccess_key: one\nsecret_key: two\n";
        assert_eq!(found(two).iter().map(|(line, ..)| *line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_is_not_written_out_is_left_alone() {
        for text in [
            "secret_key: \"{{ store_secret_key }}\"",
            "secret_key: {{ store_secret_key }}",
            "s3: { secret_key: {{ store_secret_key }}, access_key: \"{{store_access_key}}\" }",
            "auth: Bearer {{ ws_client_auth_token }}",
            "authorization: Bearer {{ ws_client_auth_token }}",
            "access_key: \"\"\nsecret_key: \"\"",
            "secret_key:\naccess_key: ~",
            "password: ${PASSWORD}",
            "token_file: /etc/axon/token",
            "token_required: true",
            "secret_key:\n  from: {{ store_secret_key }}",
            "# secret_key: ask the manager for it",
            "# tokens begin with kws_v1_ and are long",
            "url: http://edge:9000/a@b",
            "key: value",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn a_known_secret_gives_way_to_what_each_robot_has() {
        let known = ["hunter2hunter2".to_owned()];
        for (stored, shown) in [
            ("a: 1", "a: 1"),
            ("access_key: other\nsecret_key: mine", "access_key: other\nsecret_key: mine"),
            (
                "access_key: \"keystone\"\nsecret_key: \"hunter2hunter2\" # key\n",
                "access_key: {{ store_access_key }}\nsecret_key: {{ store_secret_key }} # key\n",
            ),
            ("note: hunter2hunter2", "note: {{ removed_secret }}"),
            ("# was hunter2hunter2", "# was {{ removed_secret }}"),
        ] {
            assert_eq!(without(stored, &known), shown, "{stored}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        proptest! {
            /// Whatever is in a template: it is read to its end, and what is shown does not hold what is known.
            #[test]
            fn no_text_stops_the_reader(text in "[a-z_:=\"'#{}\\[\\], \n|é$-]{0,80}(secret_key|token|hunter2x)?[a-z:=\"'{} \n]{0,40}") {
                for literal in super::literals(&text) {
                    prop_assert!(text.is_char_boundary(literal.value.start) && text.is_char_boundary(literal.value.end));
                }
                prop_assert!(!super::without(&text, &["hunter2x".to_owned()]).contains("hunter2x"));
            }
        }
    }
}
