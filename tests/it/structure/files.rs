//! Which file uses which: every path of the code is followed to the file that defines what it names.
//!
//! A file that only declares and re-exports its children uses none of them: a name is followed through re-exports to
//! the child. It uses a child where its own code names what is in it. Tests are not looked at, and methods neither: they
//! have no path.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::sources::{code_of, is_word, read, root, source_files};

type Module = Vec<String>;

/// One file, as far as paths are concerned.
#[derive(Default)]
struct File {
    /// Where it lies below `src/`.
    name: String,
    /// Its code without `use`.
    code: String,
    /// Names that `use` brings in, and what they stand for as they are written.
    imports: Vec<(String, Module)>,
    /// Of these, what it passes on.
    exports: Vec<(String, Module)>,
}

pub struct Files(BTreeMap<Module, File>);

/// Every `use` of a piece of code, taken out of it: whether it is passed on, and its text.
fn uses(code: &str) -> (String, Vec<(bool, String)>) {
    let (mut rest, mut found) = (String::new(), vec![]);
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let public = start.starts_with("pub");
        let after =
            if public { start.split_once("use ").filter(|(before, _)| !before.contains(' ') || before.trim_end() == "pub") } else { None };
        let text = match (after, start.strip_prefix("use ")) {
            (Some((before, text)), _) if before.trim_start_matches("pub").trim().chars().all(|c| !c.is_whitespace()) => text,
            (_, Some(text)) => text,
            _ => {
                rest.push_str(line);
                rest.push('\n');
                continue;
            }
        };
        let mut whole = text.to_owned();
        while !whole.contains(';') {
            let Some(line) = lines.next() else { break };
            whole.push_str(line.trim());
        }
        found.push((public, whole.split(';').next().unwrap_or_default().to_owned()));
    }
    (rest, found)
}

/// The leaves of a `use`: under which name each is known, and its path.
fn leaves(text: &str, before: &[String], found: &mut Vec<(String, Module)>) {
    let text = text.trim().trim_start_matches("::");
    if let Some(group) = text.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    leaves(&group[start..at], before, found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let length = text.find(|c| !is_word(c) && c != '*').unwrap_or(text.len());
    let (segment, rest) = text.split_at(length);
    if segment.is_empty() {
        return;
    }
    let mut path = before.to_vec();
    if segment != "self" || path.is_empty() {
        path.push(segment.to_owned());
    }
    if let Some(deeper) = rest.trim_start().strip_prefix("::") {
        return leaves(deeper, &path, found);
    }
    let name = rest.trim().strip_prefix("as ").map(str::trim).unwrap_or(path.last().map_or("", String::as_str));
    found.push((name.to_owned(), path));
}

/// Paths with at least one `::`, as they stand in code.
fn inline_paths(code: &str) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while let Some(next) = code[at..].find(is_word) {
        let start = at + next;
        let before = code[..start].trim_end();
        let mut path = vec![];
        let mut end = start;
        loop {
            let length = code[end..].find(|c| !is_word(c)).unwrap_or(code.len() - end);
            path.push(code[end..end + length].to_owned());
            end += length;
            match code[end..].strip_prefix("::").filter(|rest| rest.starts_with(is_word)) {
                Some(_) => end += 2,
                None => break,
            }
        }
        if path.len() > 1 && !before.ends_with("::") && !before.ends_with('.') {
            found.insert(path);
        }
        at = end;
    }
    found
}

fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word))
}

fn defines(code: &str, name: &str) -> bool {
    ["struct", "enum", "fn", "type", "trait", "const", "static", "macro_rules!", "mod"]
        .iter()
        .any(|kind| code.match_indices(&format!("{kind} {name}")).any(|(at, whole)| !code[at + whole.len()..].starts_with(is_word)))
}

impl Files {
    pub fn of_the_program() -> Self {
        let source = root().join("src");
        Self::of(source_files().into_iter().map(|path| {
            let name = path.strip_prefix(&source).unwrap_or(Path::new("")).display().to_string();
            let code = code_of(&read(&path));
            (name, code)
        }))
    }

    pub fn of(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut all = BTreeMap::new();
        for (name, code) in files {
            let mut module: Module = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            module.pop_if(|last| matches!(last.as_str(), "mod" | "lib"));
            let (code, uses) = uses(&code);
            let mut file = File { name, code, ..File::default() };
            for (public, text) in uses {
                let mut found = vec![];
                leaves(&text, &[], &mut found);
                if public {
                    file.exports.extend(found.iter().cloned());
                }
                file.imports.extend(found);
            }
            all.insert(module, file);
        }
        Self(all)
    }

    /// A path as it is written in `from`, from the root of the program; none: of another crate.
    fn absolute(&self, from: &Module, path: &[String], imports: &[(String, Module)]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => vec![],
            "self" => from.clone(),
            "super" => from[..from.len().saturating_sub(1)].to_vec(),
            name => {
                if let Some((_, stands_for)) = imports.iter().find(|(known, stands_for)| known == name && stands_for != path) {
                    let mut whole = self.absolute(from, stands_for, &[])?;
                    whole.extend_from_slice(rest);
                    return Some(whole);
                }
                let mut child = from.clone();
                child.push(name.to_owned());
                if !self.0.contains_key(&child) {
                    return None;
                }
                child
            }
        };
        for segment in rest {
            match segment.as_str() {
                "super" => drop(base.pop()),
                segment => base.push(segment.to_owned()),
            }
        }
        Some(base)
    }

    /// The file that defines what an absolute path names, and whether anything in it is named at all.
    fn home(&self, path: &[String], hops: u8) -> Option<(Module, bool)> {
        let length = (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let (module, file) = (module.to_vec(), &self.0[module]);
        let Some(name) = rest.first().filter(|_| hops > 0) else { return Some((module, !rest.is_empty())) };
        if name == "*" {
            return Some((module, true));
        }
        let passed_on = |stands_for: &Module| {
            let mut whole = self.absolute(&module, stands_for, &file.imports)?;
            whole.extend_from_slice(&rest[1..]);
            self.home(&whole, hops - 1)
        };
        if let Some(found) = file.exports.iter().find(|(known, _)| known == name).and_then(|(_, stands_for)| passed_on(stands_for)) {
            return Some(found);
        }
        if !defines(&file.code, name) {
            for (_, glob) in file.exports.iter().filter(|(known, _)| known == "*") {
                let target = self.absolute(&module, &glob[..glob.len() - 1], &file.imports);
                if let Some(target) = target.filter(|target| self.0.get(target).is_some_and(|file| names(&file.code, name))) {
                    return Some((target, true));
                }
            }
        }
        Some((module, true))
    }

    /// The files that one file uses.
    fn used_by(&self, module: &Module, file: &File) -> BTreeSet<Module> {
        let imported = file.imports.iter().filter(|(name, path)| {
            let passed_on = file.exports.iter().any(|(known, other)| known == name && other == path);
            !passed_on || names(&file.code, name)
        });
        let written = imported.map(|(_, path)| path.clone()).chain(inline_paths(&file.code));
        let absolute = written.filter_map(|path| self.absolute(module, &path, &file.imports));
        let homes = absolute.filter_map(|path| self.home(&path, 4)).filter(|(_, names_something)| *names_something).map(|(home, _)| home);
        homes.filter(|home| home != module).collect()
    }

    /// Circles: files each of which can be reached from each other one.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let uses: BTreeMap<&Module, BTreeSet<Module>> = self.0.iter().map(|(module, file)| (module, self.used_by(module, file))).collect();
        let reached: BTreeMap<&Module, BTreeSet<&Module>> = uses
            .keys()
            .map(|start| {
                let (mut seen, mut ahead) = (BTreeSet::new(), vec![*start]);
                while let Some(module) = ahead.pop() {
                    for next in &uses[module] {
                        if seen.insert(next) {
                            ahead.push(next);
                        }
                    }
                }
                (*start, seen)
            })
            .collect();
        let mut circles = BTreeSet::new();
        for (module, ahead) in &reached {
            if ahead.contains(*module) {
                let mutual = ahead.iter().filter(|other| reached[**other].contains(*module));
                circles.insert(mutual.map(|other| self.0[*other].name.clone()).collect::<BTreeSet<_>>());
            }
        }
        circles.into_iter().collect()
    }

    /// The arrows inside one set of files, for who has to dissolve a circle.
    pub fn arrows_among(&self, names: &BTreeSet<String>) -> Vec<String> {
        let mut found = vec![];
        for (module, file) in self.0.iter().filter(|(_, file)| names.contains(&file.name)) {
            let used = self.used_by(module, file);
            found.extend(
                used.iter()
                    .map(|used| &self.0[used].name)
                    .filter(|name| names.contains(*name))
                    .map(|used| format!("{} -> {used}", file.name)),
            );
        }
        found
    }
}
