//! What is known of an object beside its bytes: entity tag, attributes, checksums.
//!
//! A record is a file of its own, so bytes and record cannot be replaced in one step. Therefore a record names the
//! file that it is about by its size and its time of change, and keeps what it said about the file before: it is
//! written first, then the file takes its place, and whichever of the two files is there afterwards, exactly one
//! version in the record is about it.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::layout::{Layout, Name, is_absent, remove_if_there, write_small};

/// Which file a version of a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub bytes: u64,
    pub changed_s: i64,
    pub changed_ns: i64,
}

impl Stamp {
    pub fn of(file: &Metadata) -> Self {
        Self { bytes: file.len(), changed_s: file.mtime(), changed_ns: file.mtime_nsec() }
    }
}

/// Base64, as they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checksums {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc32: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc64nvme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl From<s3s::dto::Checksum> for Checksums {
    fn from(sums: s3s::dto::Checksum) -> Self {
        Self {
            crc32: sums.checksum_crc32,
            crc32c: sums.checksum_crc32c,
            crc64nvme: sums.checksum_crc64nvme,
            sha1: sums.checksum_sha1,
            sha256: sums.checksum_sha256,
        }
    }
}

/// What the client said about the object, to be told again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    pub user_metadata: Option<HashMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_redirect_location: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Without quotes: the MD5 of the bytes, or that of the MD5s of the parts.
    pub etag: String,
    /// Sizes of the parts of an object that was uploaded in parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<u64>,
    #[serde(default)]
    pub attributes: Attributes,
    #[serde(default)]
    pub checksums: Checksums,
    /// Where the checksums are made from those of the parts.
    #[serde(default)]
    pub composite: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Version {
    stamp: Stamp,
    about: About,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    pub key: String,
    versions: Vec<Version>,
}

impl Record {
    /// Nothing where there is none, or where it cannot be understood.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        Ok(read_if_there(path)?.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    pub fn about(&self, stamp: Stamp) -> Option<&About> {
        self.versions.iter().find(|version| version.stamp == stamp).map(|version| &version.about)
    }

    /// What it says about other files of that size: a copy of one of them is known by its content only.
    pub fn of_size(&self, bytes: u64) -> impl Iterator<Item = &About> {
        self.versions.iter().filter(move |version| version.stamp.bytes == bytes).map(|version| &version.about)
    }

    /// Before the file with `stamp` takes the place of the one with `current`.
    pub fn announce(layout: &Layout, name: &Name, current: Option<Stamp>, stamp: Stamp, about: &About) -> io::Result<()> {
        let path = layout.record(name);
        let known = Self::read(&path)?.unwrap_or_default();
        let mut versions: Vec<_> = known.versions.into_iter().filter(|version| Some(version.stamp) == current).collect();
        versions.push(Version { stamp, about: about.clone() });
        let record = Self { key: name.key().to_owned(), versions };
        write_small(&layout.incoming(), &path, &serde_json::to_vec(&record)?)
    }
}

/// The two files in which version 0.1 kept what it knew of an object.
pub struct Earlier {
    attributes: PathBuf,
    internal: PathBuf,
}

impl Earlier {
    pub fn of(layout: &Layout, name: &Name) -> Self {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let stem = format!(".bucket-{}.object-{}", encode(name.bucket()), encode(name.key()));
        let file = |kind: &str| layout.root().join(format!("{stem}.{kind}.json"));
        Self { attributes: file("metadata"), internal: file("internal") }
    }

    pub fn read(&self) -> io::Result<Option<About>> {
        #[derive(Deserialize)]
        struct Internal {
            e_tag: String,
            checksum_crc32: Option<String>,
            checksum_crc32c: Option<String>,
            checksum_crc64nvme: Option<String>,
            checksum_sha1: Option<String>,
            checksum_sha256: Option<String>,
        }
        // Without a tag the object has the tag of its content, which is not found here.
        let internal = read_if_there(&self.internal)?.and_then(|text| serde_json::from_slice::<Internal>(&text).ok());
        let Some(internal) = internal else { return Ok(None) };
        Ok(Some(About {
            etag: internal.e_tag,
            attributes: self.attributes()?,
            checksums: Checksums {
                crc32: internal.checksum_crc32,
                crc32c: internal.checksum_crc32c,
                crc64nvme: internal.checksum_crc64nvme,
                sha1: internal.checksum_sha1,
                sha256: internal.checksum_sha256,
            },
            ..About::default()
        }))
    }

    pub fn attributes(&self) -> io::Result<Attributes> {
        let text = read_if_there(&self.attributes)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default())
    }

    /// Both, where they are there.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [self.attributes.as_path(), self.internal.as_path()].into_iter()
    }

    pub fn remove(&self) -> io::Result<()> {
        self.files().try_for_each(remove_if_there)
    }
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
