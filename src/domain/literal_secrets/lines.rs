//! Lines of a text that is no YAML yet: names, the values behind and below them, and which of those are written out.

use std::ops::Range;

use super::names::{Kind, last_word};

/// What replaces a placeholder while lines are read: a character that no template needs.
const FILLED: char = '\u{1}';

/// Under the name of a secret these say where or what it is.
const ABOUT: [&str; 28] = [
    "file",
    "path",
    "dir",
    "env",
    "from",
    "ref",
    "name",
    "type",
    "kind",
    "url",
    "endpoint",
    "header",
    "provider",
    "source",
    "user",
    "username",
    "region",
    "profile",
    "issuer",
    "audience",
    "algorithm",
    "timeout",
    "ttl",
    "mount",
    "mode",
    "enabled",
    "scope",
    "format",
];

/// What of a value on this line is a secret, and on the `rest`, where it may go on there.
pub(super) fn literal_of((start, line): (usize, &str), value: Range<usize>, rest: Option<&[(usize, &str)]>) -> Option<Range<usize>> {
    let text = &line[value.clone()];
    if !is_block(text) && is_literal(text) {
        return Some(start + value.start..start + value.end);
    }
    below(rest?, indent(line), text)
}

/// The text with each `{{ placeholder }}` filled, and as long as before.
pub(super) fn blank_placeholders(text: &str) -> String {
    let mut read = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        read += before;
        let near = &after.as_bytes()[..after.len().min(PLACEHOLDER_BYTES_MAX)];
        let end = near.windows(2).position(|pair| pair == b"}}").filter(|end| is_placeholder(&after[..*end]));
        if let Some(end) = end {
            read.extend(std::iter::repeat_n(FILLED, end + 4));
            rest = &after[end + 2..];
        } else {
            // What looks like one later on may be one.
            read.push('{');
            rest = &rest[before.len() + 1..];
        }
    }
    read + rest
}

/// Names of what a robot knows are shorter.
const PLACEHOLDER_BYTES_MAX: usize = 200;

/// A name. What computes something may write out what it begins with.
fn is_placeholder(inside: &str) -> bool {
    let name = inside.trim_matches([' ', '\t']);
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(is_name)
}

/// Where the comment of a line begins; its end, where it has none.
pub(super) fn comment_start(line: &str) -> usize {
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

pub(super) fn word_len(text: &str) -> usize {
    text.find(|c: char| !is_name(c)).unwrap_or(text.len())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

/// A name, and where the value that follows it on the same line begins.
pub(super) struct Entry<'a> {
    line: &'a str,
    pub name: &'a str,
    pub start: usize,
    /// What is open there, and so ends the value.
    in_flow: bool,
    quoted: [bool; 2],
    assigned: bool,
}

impl Entry<'_> {
    pub fn value(&self) -> Range<usize> {
        let ends = |c: char| match c {
            ',' | '}' | ']' => self.in_flow,
            '"' => self.quoted[0],
            '\'' => self.quoted[1],
            '&' | ';' => self.assigned,
            _ => self.assigned && c.is_whitespace(),
        };
        self.start..self.start + value_len(&self.line[self.start..], ends)
    }
}

pub(super) fn entries(line: &str) -> Vec<Entry<'_>> {
    let mut found = vec![];
    let mut at = 0;
    let (mut read, mut flows, mut quoted) = (0, 0_i32, [false; 2]);
    while let Some(skip) = line[at..].find(is_name) {
        let begin = at + skip;
        let end = begin + word_len(&line[begin..]);
        at = end;
        // A variable with nothing where it is not set.
        if line[..begin].ends_with("${") && line[end..].starts_with(":-}") {
            continue;
        }
        let after = line[end..].trim_start_matches(['"', '\'']).trim_start();
        let Some(value) = after.strip_prefix([':', '=']) else { continue };
        let assigned = after.starts_with('=') && value.starts_with(|c: char| !c.is_whitespace());
        let start = line.len() - value.trim_start().len();
        for c in line[read..start].chars() {
            match c {
                '{' | '[' => flows += 1,
                '}' | ']' => flows -= 1,
                '"' => quoted[0] = !quoted[0],
                '\'' => quoted[1] = !quoted[1],
                _ => {}
            }
        }
        read = start;
        found.push(Entry { line, name: &line[begin..end], start, in_flow: flows > 0, quoted, assigned });
    }
    found
}

/// How long a value is: to its closing quote or bracket, or to where its place ends.
fn value_len(value: &str, ends: impl Fn(char) -> bool) -> usize {
    let whole = match value.chars().next() {
        Some(quote @ ('"' | '\'')) if !ends(quote) => closing_quote(value, quote),
        Some('{' | '[') => closing(value),
        _ => value.find(ends),
    };
    value[..whole.unwrap_or(value.len())].trim_end().len()
}

/// The end of a text in quotes, in which `''` and `\"` are no end.
fn closing_quote(value: &str, quote: char) -> Option<usize> {
    let mut chars = value.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let doubled = quote == '\'' && chars.next_if(|(_, next)| *next == quote).is_some();
            if !doubled {
                return Some(at + 1);
            }
        } else if c == '\\' && quote == '"' {
            chars.next();
        }
    }
    None
}

/// Lists and mappings in each other: deeper ones are not read, and not trusted.
const FLOW_DEPTH_MAX: i32 = 16;

/// The end of what the bracket at the beginning opens.
fn closing(value: &str) -> Option<usize> {
    let mut open = 0;
    for (at, c) in value.char_indices() {
        match c {
            '{' | '[' => open += 1,
            '}' | ']' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at + 1);
        }
    }
    None
}

pub(super) fn explicit_name(code: &str) -> Option<&str> {
    let name = code.trim_start_matches([' ', '-']).strip_prefix('?')?.trim();
    let name = name.trim_matches(['"', '\'']);
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

/// Which line begins with a colon, and the value behind it.
pub(super) fn explicit_value(lines: &[(usize, &str)]) -> Option<(usize, Range<usize>)> {
    let (n, line) = lines.iter().map(|(_, line)| *line).enumerate().find(|(_, line)| !line[..comment_start(line)].trim().is_empty())?;
    let code = &line[..comment_start(line)];
    let value = code.trim_start().strip_prefix(':')?.trim_start();
    let start = code.len() - value.len();
    Some((n, start..start + value_len(value, |_| false)))
}

/// `|`, `>-` and the like: the value is a text on the lines below.
fn is_block(value: &str) -> bool {
    value.starts_with(['|', '>']) && value[1..].chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-'))
}

/// A list that has no end within so many lines is not read, and not trusted.
const FLOW_LINES_MAX: usize = 16;

/// What a name has on the lines below it beside `value`, which is harmless: a text, a list, a mapping, or the rest of one.
fn below(lines: &[(usize, &str)], outer: usize, value: &str) -> Option<Range<usize>> {
    let balance = |text: &str| {
        text.chars().fold(0_i32, |open, c| match c {
            '{' | '[' => open + 1,
            '}' | ']' => open - 1,
            _ => open,
        })
    };
    let (block, mut open) = (is_block(value), if value.starts_with(['{', '[']) { balance(value) } else { 0 });
    if open == 0 && value.ends_with([',', '}', ']']) {
        return None;
    }
    let (flow, mut first) = (open > 0, true);
    for (n, &(start, line)) in lines.iter().enumerate() {
        let code = if block { line } else { &line[..comment_start(line)] };
        let inner = code.trim();
        if inner.is_empty() {
            continue;
        }
        let own = entries(code).is_empty();
        // In a flow the value may stand anywhere.
        let anywhere = flow || (first && value.is_empty() && own && inner.starts_with(['"', '\'']));
        if !anywhere && indent(code) <= outer {
            return None;
        }
        first = false;
        let at = |part: Range<usize>| start + part.start..start + part.end;
        if block {
            let from = code.len() - code.trim_start().len();
            if is_literal_scalar(inner) {
                return Some(at(from..from + inner.len()));
            }
        // A mapping below a value that is whole belongs to another name.
        } else if (own || flow || value.is_empty())
            && let Some(part) = literal_part(code)
        {
            return Some(at(part));
        }
        if flow {
            open += balance(code);
            if open <= 0 {
                return None;
            }
            if n == FLOW_LINES_MAX {
                return Some(start..start + line.len());
            }
        }
    }
    None
}

/// The first part of a list or a mapping that is a secret.
fn literal_part(text: &str) -> Option<Range<usize>> {
    let mut quote = None;
    let (mut from, mut depth) = (0, 0_i32);
    let ends = text.char_indices().filter(|&(_, c)| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
        quote.is_none() && matches!(c, ',' | '[' | ']' | '{' | '}')
    });
    let mut ends: Vec<usize> = ends.map(|(at, _)| at).collect();
    ends.push(text.len());
    for end in ends {
        match text.as_bytes().get(end) {
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => depth -= 1,
            _ => {}
        }
        if depth > FLOW_DEPTH_MAX {
            return Some(end..text.len());
        }
        let part = &text[from..end];
        let named = entries(part);
        let found = if named.is_empty() {
            let plain = part.trim_start_matches([' ', '-', '\t']);
            let start = part.len() - plain.len();
            is_literal_scalar(plain).then(|| start..start + plain.trim_end().len())
        } else {
            // Names of secrets are looked at by themselves. What follows the first value is a part of it.
            let first = named.iter().find(|entry| Kind::of(entry.name).is_none() && !last_word(entry.name, &ABOUT));
            first.map(Entry::value).filter(|value| {
                let value = &part[value.clone()];
                // A number under another name is a limit or a time.
                !is_block(value) && value.parse::<f64>().is_err() && is_literal_scalar(value)
            })
        };
        if let Some(found) = found {
            return Some(from + found.start..from + found.end);
        }
        from = (end + 1).min(text.len());
    }
    None
}

fn is_literal(value: &str) -> bool {
    if value.starts_with(['{', '[']) { literal_part(value).is_some() } else { is_literal_scalar(value) }
}

/// Whether any of a text without parts is written out.
fn is_literal_scalar(value: &str) -> bool {
    let value = value.trim();
    let value = match value.chars().next() {
        // Without an end it goes on where nobody looks.
        Some(quote @ ('"' | '\'')) => match value[1..].strip_suffix(quote) {
            Some(inside) => inside.trim(),
            None => return true,
        },
        // Of the flow around it.
        _ => value.trim_end_matches([',', '}', ']', ' ']),
    };
    let scheme =
        value.split_once(' ').filter(|(word, _)| ["bearer", "basic", "token"].iter().any(|known| word.eq_ignore_ascii_case(known)));
    let value = scheme.map_or(value, |(_, rest)| rest.trim());
    let filled = || value.contains(FILLED) && value.chars().all(|c| matches!(c, FILLED | ' ' | ':' | '-' | '_' | '.' | '/' | '@'));
    let switch = || ["null", "~", "true", "false", "yes", "no"].iter().any(|word| value.eq_ignore_ascii_case(word));
    !(value.is_empty() || filled() || is_variable(value) || switch())
}

/// `$NAME`, `${NAME}`, and `${NAME:-}` with nothing where it is not set, as the environment has names.
fn is_variable(value: &str) -> bool {
    let Some(name) = value.strip_prefix('$') else { return false };
    // The bracket behind it may have been taken for one of the flow around it.
    let name = name.strip_prefix('{').map_or(name, |name| name.strip_suffix('}').unwrap_or(name));
    let name = name.strip_suffix(":-").unwrap_or(name);
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// `scheme://name:password@host`. A password may hold what ends a host elsewhere.
pub(super) fn password_in_url(line: &str) -> Option<Range<usize>> {
    let ends_host = |c: char| matches!(c, '/' | '?' | '#');
    let mut next = 0;
    for word in line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')) {
        let from = next;
        // What splits may be longer than a byte.
        next = from + word.len() + line[from + word.len()..].chars().next().map_or(0, char::len_utf8);
        let Some((word, _)) = word.rsplit_once('@') else { continue };
        let login = word.match_indices("://").find_map(|(at, _)| {
            let login = &word[at + 3..];
            let (name, password) = login.split_once(':')?;
            (!name.contains(ends_host)).then_some((at + 3 + name.len() + 1, password))
        });
        let Some((start, password)) = login else { continue };
        // `host:9000/a@b`
        let is_port = password.split_once(ends_host).is_some_and(|(port, _)| port.chars().all(|c| c.is_ascii_digit()));
        if !is_port && is_literal_scalar(password) {
            return Some(from + start..from + start + password.len());
        }
    }
    None
}
