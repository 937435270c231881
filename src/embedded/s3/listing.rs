//! Keys of a bucket in their order, by prefix and delimiter.
//!
//! The folder is walked in the order of the keys, from the first that is asked for to the last: a page of a large
//! bucket reads the folders it shows.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use super::layout::{Layout, Name, allow_key, is_absent};
use super::objects::holds_files;
use super::record::{Earlier, Record, Stamp};

/// S3's own limit.
pub const PAGE_MAX: usize = 1000;

pub struct Asked {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only what comes after it.
    pub after: String,
    pub max: usize,
}

#[derive(Debug, Default)]
pub struct Page {
    pub objects: Vec<Listed>,
    pub prefixes: Vec<String>,
    /// Where the next page goes on, if there is one.
    pub next: Option<String>,
}

#[derive(Debug)]
pub struct Listed {
    pub key: String,
    pub bytes: u64,
    pub modified: SystemTime,
    /// Where it is known without reading the object.
    pub etag: Option<String>,
}

pub fn list(layout: &Layout, bucket: &str, asked: &Asked) -> io::Result<Page> {
    let mut paging = Paging::new(asked);
    if asked.max == 0 {
        return Ok(Page::default());
    }
    let mut hashed = hashed_keys(layout, bucket)?.into_iter().peekable();
    let mut take = |key: &str| {
        // Those without a plain file come in between.
        while hashed.peek().is_some_and(|hashed| hashed.as_str() < key) {
            if let Some(hashed) = hashed.next() {
                paging.take(&hashed)?;
            }
        }
        paging.take(key)
    };
    let mut ended = walk(&layout.bucket(bucket), "", asked, &mut take)?;
    for key in hashed {
        if ended.is_continue() {
            ended = paging.take(&key);
        }
    }
    let Paging { keys, prefixes, next, .. } = paging;
    let mut objects = vec![];
    for key in keys {
        let Ok(name) = Name::new(bucket, &key) else { continue };
        objects.extend(listed(layout, &name)?);
    }
    Ok(Page { objects, prefixes, next })
}

/// Counts what fits on the page, and folds keys into their common prefixes.
struct Paging<'a> {
    asked: &'a Asked,
    keys: Vec<String>,
    prefixes: Vec<String>,
    last: String,
    next: Option<String>,
}

impl<'a> Paging<'a> {
    fn new(asked: &'a Asked) -> Self {
        Self { asked, keys: vec![], prefixes: vec![], last: String::new(), next: None }
    }

    /// In the order of keys.
    fn take(&mut self, key: &str) -> ControlFlow<()> {
        let Some(rest) = key.strip_prefix(self.asked.prefix.as_str()) else { return ControlFlow::Continue(()) };
        let delimiter = self.asked.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let folded = delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| &key[..key.len() - rest.len() + at + delimiter.len()]));
        let shown = folded.unwrap_or(key);
        if shown <= self.asked.after.as_str() || self.prefixes.last().is_some_and(|last| last == shown) {
            return ControlFlow::Continue(());
        }
        if self.keys.len() + self.prefixes.len() == self.asked.max {
            self.next = Some(self.last.clone());
            return ControlFlow::Break(());
        }
        shown.clone_into(&mut self.last);
        if folded.is_some() {
            self.prefixes.push(shown.to_owned())
        } else {
            self.keys.push(shown.to_owned())
        }
        ControlFlow::Continue(())
    }
}

/// Shows keys of plain files below `folder`, whose keys begin with `begin`.
fn walk(folder: &Path, begin: &str, asked: &Asked, take: &mut impl FnMut(&str) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if is_absent(&error) => return Ok(ControlFlow::Continue(())),
        entries => entries?,
    };
    let mut keys = vec![];
    for entry in entries {
        let entry = entry?;
        // What is no key cannot be an object.
        let Some(key) = entry.file_name().to_str().map(|name| format!("{begin}{name}")).filter(|key| allow_key(key).is_ok()) else {
            continue;
        };
        let mut kind = entry.file_type()?;
        if kind.is_symlink() {
            match fs::metadata(entry.path()) {
                Ok(target) => kind = target.file_type(),
                Err(_) => continue,
            }
        }
        if kind.is_dir() {
            let below = format!("{key}/");
            let wanted = below.starts_with(&asked.prefix) || asked.prefix.starts_with(&below);
            let passed = below < asked.after && !asked.after.starts_with(&below);
            if wanted && !passed {
                keys.push(below);
            }
        } else if kind.is_file() && key.starts_with(&asked.prefix) && key > asked.after {
            keys.push(key);
        }
    }
    keys.sort_unstable();
    for key in keys {
        let folds = asked.delimiter.as_deref() == Some("/") && key.ends_with('/') && key.starts_with(&asked.prefix) && key != asked.prefix;
        let shown = match key.strip_suffix('/') {
            // All of it is one common prefix.
            Some(name) if folds => {
                if holds_files(&folder.join(&name[begin.len()..]))? {
                    take(&key)
                } else {
                    ControlFlow::Continue(())
                }
            }
            Some(name) => walk(&folder.join(&name[begin.len()..]), &key, asked, take)?,
            None => take(&key),
        };
        if shown.is_break() {
            return Ok(shown);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Keys without a plain file. There are few, and all of them are read.
fn hashed_keys(layout: &Layout, bucket: &str) -> io::Result<Vec<String>> {
    let mut keys = vec![];
    let shards = match fs::read_dir(layout.all_hashed(bucket)) {
        Err(error) if is_absent(&error) => return Ok(keys),
        shards => shards?,
    };
    for shard in shards {
        for entry in fs::read_dir(shard?.path())? {
            let hash = entry?.file_name();
            let Some(hash) = hash.to_str() else { continue };
            keys.extend(Record::read(&layout.record_of_hash(bucket, hash))?.map(|record| record.key));
        }
    }
    keys.sort_unstable();
    Ok(keys)
}

fn listed(layout: &Layout, name: &Name) -> io::Result<Option<Listed>> {
    for path in layout.plain(name).into_iter().chain([layout.hashed(name)]) {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => continue,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        let stamp = Stamp::of(&metadata);
        let known = Record::read(&layout.record(name))?.and_then(|record| record.about(stamp).map(|about| about.etag.clone()));
        let etag = match known {
            Some(etag) => Some(etag),
            None => Earlier::of(layout, name).read()?.map(|about| about.etag),
        };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        return Ok(Some(Listed { key: name.key().to_owned(), bytes: metadata.len(), modified, etag }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::layout::NewFile;
    use super::super::objects;
    use super::super::record::About;
    use super::*;

    fn put(layout: &Layout, key: &str) {
        let (new, mut file) = NewFile::create(&layout.incoming()).unwrap();
        file.write_all(key.as_bytes()).unwrap();
        let about = About { etag: key.to_owned(), ..About::default() };
        objects::put(layout, &Name::new("edge-f", key).unwrap(), new, &file, &about).unwrap();
    }

    /// All pages, as shown: keys and common prefixes in one order.
    fn pages(layout: &Layout, asked: &mut Asked) -> Vec<String> {
        let mut shown = vec![];
        loop {
            let page = list(layout, "edge-f", asked).unwrap();
            let mut of_page: Vec<_> = page.objects.iter().map(|listed| listed.key.clone()).chain(page.prefixes).collect();
            of_page.sort_unstable();
            assert!(of_page.len() <= asked.max);
            shown.append(&mut of_page);
            match page.next {
                Some(next) => asked.after = next,
                None => return shown,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn pages_together_are_what_a_sorted_set_says(
            keys in proptest::collection::btree_set("[ab/!-]{1,5}/?", 0..25),
            prefix in "[ab/]{0,3}",
            delimiter in proptest::option::of(prop_oneof![Just("/"), Just("-"), Just("b")]),
            after in "[ab/]{0,3}",
            max in 1..8_usize,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let layout = Layout::open(folder.path()).unwrap();
            let keys: BTreeSet<String> = keys.into_iter().filter(|key| allow_key(key).is_ok()).collect();
            for key in &keys {
                put(&layout, key);
            }
            let expected: BTreeSet<String> = keys
                .iter()
                .filter_map(|key| {
                    let rest = key.strip_prefix(&prefix)?;
                    let folded = delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| format!("{prefix}{}", &rest[..at + delimiter.len()])));
                    Some(folded.unwrap_or_else(|| key.clone()))
                })
                .filter(|shown| *shown > after)
                .collect();
            let mut asked = Asked { prefix, delimiter: delimiter.map(str::to_owned), after, max };
            prop_assert_eq!(pages(&layout, &mut asked), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
