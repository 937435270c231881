//! Objects as files: find, put in place, delete. Everything here blocks.
//!
//! A file that took its place is never changed any more: what a reader has opened stays what it is. What is replaced
//! or deleted is so under the key's lock, which the callers hold.

use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use s3s::crypto::{Checksum, Md5};

use super::guard::Stored;
use super::layout::{Layout, Name, NewFile, is_absent, make_folders, remove_if_there, sync_folder};
use super::record::{About, Earlier, Record, Stamp};

/// Read at once where a whole file is hashed.
const BLOCK: usize = 1 << 20;

/// How often another writer or a disappearing folder may come between two steps.
const ATTEMPTS: usize = 5;

#[derive(Debug)]
pub struct Found {
    pub file: File,
    pub path: PathBuf,
    pub stamp: Stamp,
    pub modified: SystemTime,
    pub about: About,
    /// It had to be read through to know it; see [`remember`].
    pub recognized: bool,
}

impl Found {
    pub fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    pub fn stored(&self) -> Stored {
        stored(self.path.clone(), self.bytes(), &self.about)
    }
}

pub fn stored(path: PathBuf, bytes: u64, about: &About) -> Stored {
    Stored { path, bytes, etag: about.etag.clone(), metadata: about.attributes.user_metadata.clone().unwrap_or_default() }
}

/// The object, and what is known of it.
pub fn find(layout: &Layout, name: &Name) -> io::Result<Option<Found>> {
    for attempt in 1.. {
        let Some((path, file, metadata)) = open(layout, name)? else { return Ok(None) };
        let stamp = Stamp::of(&metadata);
        let found = |file, about| Found { file, path: path.clone(), stamp, modified: modified(&metadata), about, recognized: false };
        let record = Record::read(&layout.record(name))?;
        if let Some(about) = record.as_ref().and_then(|record| record.about(stamp)) {
            return Ok(Some(found(file, about.clone())));
        }
        // Replaced between the two looks?
        let same = |now: &Metadata| (now.ino(), now.dev()) == (metadata.ino(), metadata.dev());
        if attempt < ATTEMPTS && !fs::metadata(&path).is_ok_and(|now| same(&now)) {
            continue;
        }
        let earlier = Earlier::of(layout, name);
        if let Some(about) = earlier.read()? {
            return Ok(Some(found(file, about)));
        }
        let about = recognize(&file, stamp.bytes, record.as_ref(), &earlier)?;
        return Ok(Some(Found { recognized: true, ..found(file, about) }));
    }
    Ok(None)
}

/// Writes down what the object's content told, so that it is read through once only.
pub fn remember(layout: &Layout, name: &Name, stamp: Stamp, about: &About) -> io::Result<()> {
    match open(layout, name)? {
        Some((_, _, metadata)) if Stamp::of(&metadata) == stamp => Record::announce(layout, name, None, stamp, about),
        _ => Ok(()),
    }
}

/// What the record says about a copy of the file, which has another time of change; or else the little that its
/// content tells.
fn recognize(file: &File, bytes: u64, record: Option<&Record>, earlier: &Earlier) -> io::Result<About> {
    for about in record.iter().flat_map(|record| record.of_size(bytes)) {
        if etag_of(file, bytes, &about.parts)? == about.etag {
            return Ok(about.clone());
        }
    }
    Ok(About { etag: etag_of(file, bytes, &[])?, attributes: earlier.attributes()?, ..About::default() })
}

fn etag_of(file: &File, bytes: u64, parts: &[u64]) -> io::Result<String> {
    let mut block = vec![0; BLOCK];
    let mut md5 = |range: std::ops::Range<u64>| -> io::Result<[u8; 16]> {
        let mut md5 = Md5::new();
        let mut at = range.start;
        while at < range.end {
            let length = BLOCK.min(usize::try_from(range.end - at).unwrap_or(BLOCK));
            file.read_exact_at(&mut block[..length], at)?;
            md5.update(&block[..length]);
            at += length as u64;
        }
        Ok(md5.finalize())
    };
    if parts.is_empty() {
        return Ok(hex::encode(md5(0..bytes)?));
    }
    if parts.iter().sum::<u64>() != bytes {
        return Ok(String::new());
    }
    let mut start = 0;
    let mut hashes = vec![];
    for part in parts {
        hashes.push(md5(start..start + part)?);
        start += part;
    }
    Ok(etag_of_parts(&hashes))
}

pub fn etag_of_parts(parts: &[[u8; 16]]) -> String {
    format!("{}-{}", hex::encode(Md5::checksum(parts.as_flattened())), parts.len())
}

fn open(layout: &Layout, name: &Name) -> io::Result<Option<(PathBuf, File, Metadata)>> {
    for path in layout.plain(name).into_iter().chain([layout.hashed(name)]) {
        match File::open(&path) {
            Ok(file) => {
                let metadata = file.metadata()?;
                if metadata.is_file() {
                    return Ok(Some((path, file, metadata)));
                }
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Gives a complete new file the place of the object, with what is known of it, durably. Answers when it changed.
pub fn put(layout: &Layout, name: &Name, mut new: NewFile, file: &File, about: &About) -> io::Result<SystemTime> {
    let current = open(layout, name)?.map(|(path, _, metadata)| (path, Stamp::of(&metadata)));
    let stamp = stamp_unlike(file, current.as_ref().map(|(_, stamp)| *stamp))?;
    file.sync_all()?;
    Record::announce(layout, name, current.as_ref().map(|(_, stamp)| *stamp), stamp, about)?;
    let hashed = layout.hashed(name);
    let places = match (current, layout.plain(name)) {
        // Whatever is there is replaced where it is, so that no key is in two places.
        (Some((path, _)), _) => vec![path],
        (None, Some(plain)) => vec![plain, hashed],
        (None, None) => vec![hashed],
    };
    for (nth, place) in places.iter().enumerate() {
        match take_place(&mut new, place) {
            Ok(()) => break,
            // There is an object where the folder should be, or a folder where the object should be, or the name is too long for this file system.
            Err(error) if nth + 1 < places.len() && cannot_be_there(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Earlier::of(layout, name).remove()?;
    Ok(modified(&file.metadata()?))
}

/// Makes the time of change another one than that of the file that will be replaced: with the size it tells them
/// apart.
fn stamp_unlike(file: &File, other: Option<Stamp>) -> io::Result<Stamp> {
    let now = SystemTime::now();
    // File systems differ in how exactly they keep a time.
    for later in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::from_secs(2)] {
        file.set_times(FileTimes::new().set_modified(now + later))?;
        let stamp = Stamp::of(&file.metadata()?);
        if Some(stamp) != other {
            return Ok(stamp);
        }
    }
    Err(io::Error::other("the file system keeps no times of change"))
}

fn take_place(new: &mut NewFile, place: &Path) -> io::Result<()> {
    let folder = place.parent().ok_or_else(|| io::Error::other("an object lies in a folder"))?;
    let mut attempt = 1;
    loop {
        make_folders(folder)?;
        // An empty folder may be left where the object belongs.
        if place.is_dir() {
            fs::remove_dir(place)?;
        }
        match new.place(place) {
            // A deletion took the empty folder away.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
            other => break other?,
        }
    }
    sync_folder(folder)
}

fn cannot_be_there(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, InvalidFilename, IsADirectory, NotADirectory};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty | InvalidFilename | IsADirectory | NotADirectory)
}

/// Deletes the object and what is known of it, and folders that are empty afterwards.
pub fn delete(layout: &Layout, name: &Name) -> io::Result<()> {
    if let Some((path, _, _)) = open(layout, name)? {
        remove_if_there(&path)?;
        if let Some(folder) = path.parent() {
            sync_folder(folder)?;
        }
        let bucket = layout.bucket(name.bucket());
        for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(&bucket) && *folder != bucket) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
    remove_if_there(&layout.record(name))?;
    Earlier::of(layout, name).remove()
}

/// Returns once the object, what is known of it, and every folder on the way to it are on disk. Those that this
/// layer wrote are already; those of an earlier version, or copied here by hand, are not.
pub fn sync(layout: &Layout, name: &Name) -> io::Result<()> {
    let Some((path, file, _)) = open(layout, name)? else { return Err(io::ErrorKind::NotFound.into()) };
    file.sync_all()?;
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(layout.root())) {
        sync_folder(folder)?;
    }
    let earlier = Earlier::of(layout, name);
    for known in earlier.files() {
        match File::open(known) {
            Ok(file) => file.sync_all()?,
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes a bucket without objects. Answers whether it had none.
pub fn remove_bucket(layout: &Layout, bucket: &str) -> io::Result<bool> {
    let (plain, hashed) = (layout.bucket(bucket), layout.all_hashed(bucket));
    if holds_files(&plain)? || holds_files(&hashed)? {
        return Ok(false);
    }
    // What is known of objects that are gone.
    match fs::remove_dir_all(layout.all_records(bucket)) {
        Err(error) if !is_absent(&error) => return Err(error),
        _ => {}
    }
    remove_empty(&hashed)?;
    remove_empty(&plain)?;
    sync_folder(layout.root())?;
    Ok(true)
}

fn folders_in(folder: &Path) -> io::Result<(Vec<PathBuf>, bool)> {
    let entries = match fs::read_dir(folder) {
        Err(error) if is_absent(&error) => return Ok((vec![], false)),
        entries => entries?,
    };
    let (mut folders, mut files) = (vec![], false);
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { files = true }
    }
    Ok((folders, files))
}

pub fn holds_files(folder: &Path) -> io::Result<bool> {
    let (folders, files) = folders_in(folder)?;
    if files {
        return Ok(true);
    }
    for folder in folders {
        if holds_files(&folder)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes folders only: a file that came in between stays, and with it the bucket.
fn remove_empty(folder: &Path) -> io::Result<()> {
    for folder in folders_in(folder)?.0 {
        remove_empty(&folder)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn written(layout: &Layout, content: &str) -> (NewFile, File, About) {
        let (new, mut file) = NewFile::create(&layout.incoming()).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let attributes = super::super::record::Attributes { content_type: Some(content.to_owned()), ..Default::default() };
        (new, file, About { etag: hex::encode(Md5::checksum(content.as_bytes())), attributes, ..About::default() })
    }

    fn told(layout: &Layout, name: &Name) -> (String, Option<String>) {
        let found = find(layout, name).unwrap().unwrap();
        assert!(!found.recognized);
        (fs::read_to_string(&found.path).unwrap(), found.about.attributes.content_type)
    }

    #[test]
    fn killed_between_any_two_steps_bytes_and_record_are_of_one_write() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::open(folder.path()).unwrap();
        let name = Name::new("edge-f", "a/b").unwrap();
        for key in ["a/b", "a/b/", &"long".repeat(100)] {
            let name = Name::new("edge-f", key).unwrap();
            let (new, file, about) = written(&layout, "one");
            put(&layout, &name, new, &file, &about).unwrap();
            // Of the same size, so that only the time tells them apart; announced twice, and never put in place.
            for _ in 0..2 {
                let (_new, file, about) = written(&layout, "two");
                let current = Stamp::of(&open(&layout, &name).unwrap().unwrap().2);
                let stamp = stamp_unlike(&file, Some(current)).unwrap();
                Record::announce(&layout, &name, Some(current), stamp, &about).unwrap();
                assert_eq!(told(&layout, &name), ("one".to_owned(), Some("one".to_owned())));
            }
            let (new, file, about) = written(&layout, "two");
            put(&layout, &name, new, &file, &about).unwrap();
            assert_eq!(told(&layout, &name), ("two".to_owned(), Some("two".to_owned())));
        }
        assert_eq!(fs::read_dir(layout.incoming()).unwrap().count(), 0);
        delete(&layout, &name).unwrap();
        assert!(find(&layout, &name).unwrap().is_none());
        // What was being written when the process died is gone with the next start.
        let (left, _, _) = written(&layout, "half");
        std::mem::forget(left);
        let layout = Layout::open(folder.path()).unwrap();
        assert_eq!(fs::read_dir(layout.incoming()).unwrap().count(), 0);
    }
}
