//! Secrets that are written out in a text which anybody may read, as config templates are.
//!
//! A template says `secret_key: "{{ store_secret_key }}"`, and each robot puts in its own. What stands there instead is
//! found by the names that programs give their secrets. Templates are no YAML before they are rendered, so
//! lines are read, not documents: `name: value`, `name=value`, `{"name": "value"}`, and a value on the lines below.
//! Under such a name stands a secret unless all of it is placeholders, a variable of the environment (`$NAME`,
//! `${NAME}`), a switch, or nothing; in a list or a mapping that holds for each part. Comments are prose and left
//! alone, but for what is recognisable as a secret of ours anywhere.

mod lines;
mod names;

use std::borrow::Cow;
use std::ops::Range;

pub use names::Kind;

use lines::{blank_placeholders, comment_start, entries, explicit_name, explicit_value, literal_of, password_in_url, word_len};

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

/// Where so many are, the rest is not looked for.
const FOUND_MAX: usize = 100;

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
        let named = entries(code);
        for (i, entry) in named.iter().enumerate() {
            // A name inside a secret is a part of it.
            let inside = |known: &Literal| start + entry.start < known.value.end;
            let Some(kind) = Kind::of(entry.name).filter(|_| !found.last().is_some_and(inside)) else { continue };
            let rest = (i + 1 == named.len()).then(|| &lines[n + 1..]);
            if let Some(value) = literal_of((start, code), entry.value(), rest) {
                found.push(Literal { line: n + 1, name: shown(entry.name), kind, value });
            }
            if found.len() >= FOUND_MAX {
                break;
            }
        }
        // `? name`, and `: value` on a line of its own.
        if let Some((name, kind)) = explicit_name(code).and_then(|name| Some((name, Kind::of(name)?)))
            && let Some((at, value)) = explicit_value(&lines[n + 1..])
        {
            let rest = &lines[n + 1..][at..];
            if let Some(value) = literal_of(rest[0], value, Some(&rest[1..])) {
                found.push(Literal { line: n + 1, name: shown(name), kind, value });
            }
        }
        if let Some(value) = password_in_url(code) {
            found.push(Literal { line: n + 1, name: "URL".into(), kind: Kind::Other, value: start + value.start..start + value.end });
        }
        for (prefix, kind) in RECOGNISABLE {
            let mut passed = 0;
            for (at, _) in line.match_indices(prefix) {
                if at < passed {
                    continue;
                }
                passed = at + word_len(&line[at..]);
                let value = start + at..start + passed;
                let known = found.iter().any(|known| known.value.start <= value.start && value.end <= known.value.end);
                if value.len() >= RECOGNISABLE_CHARS_MIN && !known {
                    found.push(Literal { line: n + 1, name: prefix.into(), kind, value });
                }
            }
        }
        if found.len() >= FOUND_MAX {
            break;
        }
    }
    found.sort_by_key(|literal| literal.value.start);
    found
}

fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
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
            ("url: \"http://me:pa/s?s#w@edge\"", "URL", Other, "pa/s?s#w"),
            ("url: http://me:AKIA{{ device_id }}@edge", "URL", Other, "AKIA{{ device_id }}"),
            ("secret_key: $hunter2secret", "secret_key", StoreSecretKey, "$hunter2secret"),
            ("secret_key: ${PASSWORD:-hunter2}", "secret_key", StoreSecretKey, "${PASSWORD:-hunter2}"),
            ("secret_key: AKIAREAL{{ device_id }}", "secret_key", StoreSecretKey, "AKIAREAL{{ device_id }}"),
            ("secret_key: {{ 'hunter2' }}", "secret_key", StoreSecretKey, "{{ 'hunter2' }}"),
            ("secret_key: {{ x | default('hunter2') }}", "secret_key", StoreSecretKey, "{{ x | default('hunter2') }}"),
            ("secret_key: [hunter2secret]", "secret_key", StoreSecretKey, "[hunter2secret]"),
            ("secret_key: {hunter2secretvalue}", "secret_key", StoreSecretKey, "{hunter2secretvalue}"),
            ("secret_key: { plain: hunter2 }", "secret_key", StoreSecretKey, "{ plain: hunter2 }"),
            ("secret_key: [ {{ store_secret_key }}, hunter2 ]", "secret_key", StoreSecretKey, "[ {{ store_secret_key }}, hunter2 ]"),
            ("secret_key: [\n  hunter2\n]", "secret_key", StoreSecretKey, "hunter2"),
            ("secret_key:\n  plain: hunter2", "secret_key", StoreSecretKey, "hunter2"),
            ("secret_key:\n- hunter2", "secret_key", StoreSecretKey, "hunter2"),
            ("secret_key: |\n  {{ store_secret_key }}\n\n  hunter2", "secret_key", StoreSecretKey, "hunter2"),
            ("secret_key: {{ store_secret_key }}\n  hunter2", "secret_key", StoreSecretKey, "hunter2"),
            ("secret_key: |2\n  hunter2", "secret_key", StoreSecretKey, "hunter2"),
            ("secret_key: \"\n  hunter2\"", "secret_key", StoreSecretKey, "\""),
            ("{\"secret_key\":\n\"hunter2\"}", "secret_key", StoreSecretKey, "\"hunter2\""),
            ("? secret_key\n: hunter2", "secret_key", StoreSecretKey, "hunter2"),
            ("  ? \"secret_key\"\n  : hunter2", "secret_key", StoreSecretKey, "hunter2"),
            ("secret_key: '{{ x }}''hunter2'", "secret_key", StoreSecretKey, "'{{ x }}''hunter2'"),
            (r#"secret_key: "{{ x }}\"hunter2""#, "secret_key", StoreSecretKey, r#""{{ x }}\"hunter2""#),
            ("pass: hunter2", "pass", Other, "hunter2"),
            ("dbPass: hunter2", "dbPass", Other, "hunter2"),
            ("smtp_pwd: hunter2", "smtp_pwd", Other, "hunter2"),
            ("wifi.psk=hunter2", "wifi.psk", Other, "hunter2"),
            ("cmd: \"curl -H 'Authorization: Bearer hunter2' x\"", "Authorization", Other, "Bearer hunter2"),
            ("cmd: run --token=hunter2 --x={{ device_id }}", "--token", Token, "hunter2"),
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
            "url: http://edge/a:b@c",
            "url: http://{{ user }}:{{ password }}@edge",
            "password: $PASSWORD",
            "s3: { secret_key: ${SECRET_KEY}, access_key: $ACCESS_KEY }",
            "password: \"${DB_PASSWORD_2}\"",
            "authorization: Bearer ${TOKEN}",
            "secret_key: [ \"{{ store_secret_key }}\", {{store_access_key}} ]",
            "secret_key: [\n  {{ store_secret_key }},\n]",
            "secret_key: []",
            "secret_key: { from: {{ store_secret_key }} }",
            "credentials: { type: file, path: /etc/axon/key }",
            "credentials:\n  type: file\n  path: /etc/axon/key",
            "credentials:\n  secret_key: {{ store_secret_key }}",
            "secret_key: |\n  {{ store_secret_key }}\nuser: me",
            "secret_key:\n# none yet\nuser: me",
            "? secret_key\n: {{ store_secret_key }}",
            "s3: {\n  secret_key: {{ store_secret_key }},\n  endpoint: x }",
            "s3: { endpoint: x,\n  secret_key: {{ store_secret_key }} }",
            "{\n  \"secret_key\": \"{{ store_secret_key }}\",\n  \"a\": 1\n}",
            "cmd: \"curl -H 'Authorization: Bearer {{ ws_client_auth_token }}' http://x\"",
            "cmd: run --token={{ ws_client_auth_token }} --verbose",
            "url: http://edge/?token={{ ws_client_auth_token }}&x=1",
            "bypass: all\nlowpass: 5 Hz\ncompass: on",
            "low_pass: 5.0\nhighPass: 0.5\nband_pass: [1, 40]\nfirst_pass: 2",
            "pwd: /opt/axon",
            "jwt:\n  issuer: keystone\n  enabled: true\n  algorithm: HS256",
            "credentials:\n  region: us-east-1\n  profile: default\n  timeout: 30s",
            "secret:\n  mount: /run/secrets/x",
            "password: ${PASSWORD:-}\nother: \"${PASSWORD:-}\"",
            "key: value",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn templates_to_start_from_write_nothing_out() {
        for text in [include_str!("../../../config/templates/recorder.yaml"), include_str!("../../../config/templates/transfer.yaml")] {
            assert_eq!(found(text), []);
        }
    }

    /// As hard to read as can be. Looking at something again and again would take minutes.
    #[test]
    fn no_template_is_read_for_long() {
        for piece in [
            "secret_key: [\n",
            "secret_key: ",
            "secret_key:\n",
            "secret_key: |\n",
            "? secret_key\n",
            "token: {",
            "{token:",
            "a://b:c@",
            "a://",
            "{{",
            "{{ a }}",
            "://:{{ x }}",
            "a:",
            "-:{{ a }}",
            "kws_v1_",
            "token: {a:",
            "{name:",
            "{{ a",
            "}",
            "token: [],",
            "secret_key: \"",
            "pass='",
            "- ",
            "\n ",
            "[",
            "token=",
        ] {
            // Eight times the text takes about eight times as long, not sixty-four times.
            let timed = |bytes: usize| {
                let text = piece.repeat(bytes / piece.len());
                let started = std::time::Instant::now();
                literals(&text);
                literals(&text.replace('\n', "\n  x\n"));
                started.elapsed()
            };
            let (short, long) = (timed(1 << 10), timed(1 << 13));
            assert!(long < short * 24 + std::time::Duration::from_millis(50), "{piece:?}: {short:?}, then {long:?}");
        }
        let deep: String = (0..150).map(|indent| format!("{}token:\n", " ".repeat(indent))).collect();
        literals(&deep);
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
