//! The sources of the program as texts, for tests that look at them.

use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries.map(|entry| entry.expect("a readable folder").path()) {
        // What was fetched to build and test the console is not ours.
        if entry.ends_with("node_modules") {
            continue;
        }
        if entry.is_dir() {
            found.extend(files_in(&entry, extension));
        } else if entry.extension().is_some_and(|ending| ending == extension) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code of a file without its comments and without its unit tests, which may use what they like.
pub fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            // A module of tests in another file is one line, in this file it is the rest.
            if lines.next().is_some_and(|next| next.trim_end().ends_with(';')) {
                continue;
            }
            break;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path below `crate::`, with the groups of a `use` taken apart.
pub fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = vec![];
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        expand(&code[at + "crate::".len()..], String::new(), &mut paths);
    }
    paths
}

/// Reads one path with its groups; answers how much of the text it took.
fn expand(text: &str, before: String, paths: &mut Vec<String>) -> usize {
    let text_start = text.trim_start();
    let skipped = text.len() - text_start.len();
    if !text_start.starts_with('{') {
        let length = text_start.find(|c| !is_word(c)).unwrap_or(text_start.len());
        let here = format!("{before}{}", &text_start[..length]);
        let rest = &text_start[length..];
        if let Some(deeper) = rest.strip_prefix("::").filter(|deeper| deeper.starts_with(|c: char| is_word(c) || c == '{')) {
            return skipped + length + 2 + expand(deeper, here + "::", paths);
        }
        paths.push(here);
        return skipped + length;
    }
    let mut at = 1;
    loop {
        at += expand(&text_start[at..], before.clone(), paths);
        let rest = &text_start[at..];
        let Some(next) = rest.find([',', '}']) else { return text.len() };
        at += next + 1;
        let closing_comma = text_start[at..].trim_start().starts_with('}');
        if rest[next..].starts_with('}') {
            return skipped + at;
        }
        if closing_comma {
            return skipped + at + text_start[at..].find('}').unwrap_or_default() + 1;
        }
    }
}

/// The module of `src/` that a file belongs to.
pub fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("a file in src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

pub fn source_files() -> Vec<PathBuf> {
    files_in(&root().join("src"), "rs").into_iter().filter(|path| path.file_name().is_some_and(|name| name != "tests.rs")).collect()
}

/// One row of a table in a document: its cells, without what marks them as code.
pub fn table_rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('|').trim().to_owned()).collect()).collect()
}

pub fn code_words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
