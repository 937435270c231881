//! The objects of one folder, for many requests at a time.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use s3s::{S3Result, s3_error};
use tokio::sync::RwLock;

use super::answers::{Conditions, etag, failed};
use super::asking::{Asking, carried};
use super::guard::{Delete, Deleting, Guard, Replace, Replacing};
use super::layout::{Layout, Name, NewFile, allow_bucket, make_folders};
use super::locks::Locks;
use super::objects::{self, Found};
use super::record::About;
use crate::blobs::{LocalObject, LocalObjects, ObjectKey};

pub struct Store {
    pub layout: Layout,
    keys: Locks<Name>,
    /// Held to read while something is put into a bucket, to write while a bucket is removed.
    buckets: RwLock<()>,
    guard: Arc<dyn Guard>,
}

/// A complete object that is not yet in its place.
#[derive(Debug)]
pub struct Complete {
    pub new: NewFile,
    pub file: File,
    pub bytes: u64,
    pub about: About,
}

/// What is at the place after a write.
#[derive(Clone, Debug)]
pub struct Placed {
    pub about: About,
    pub modified: SystemTime,
}

impl Store {
    pub fn new(layout: Layout, guard: Arc<dyn Guard>) -> Self {
        Self { layout, keys: Locks::default(), buckets: RwLock::default(), guard }
    }

    pub fn must_have_bucket(&self, bucket: &str) -> S3Result<()> {
        allow_bucket(bucket)?;
        if self.layout.has_bucket(bucket) { Ok(()) } else { Err(s3_error!(NoSuchBucket, "The bucket does not exist")) }
    }

    pub async fn create_bucket(self: &Arc<Self>, bucket: &str) -> S3Result<()> {
        allow_bucket(bucket)?;
        let (this, bucket) = (self.clone(), bucket.to_owned());
        detached(async move {
            let _alone = this.buckets.write().await;
            if this.layout.has_bucket(&bucket) {
                return Err(s3_error!(BucketAlreadyOwnedByYou, "The bucket exists already"));
            }
            let folder = this.layout.bucket(&bucket);
            blocking(move || make_folders(&folder)).await
        })
        .await
    }

    pub async fn delete_bucket(self: &Arc<Self>, bucket: &str) -> S3Result<()> {
        self.must_have_bucket(bucket)?;
        let (this, bucket) = (self.clone(), bucket.to_owned());
        detached(async move {
            let _alone = this.buckets.write().await;
            let layout = this.layout.clone();
            if blocking(move || objects::remove_bucket(&layout, &bucket)).await? {
                Ok(())
            } else {
                Err(s3_error!(BucketNotEmpty, "There are objects in the bucket"))
            }
        })
        .await
    }

    /// The object, if it is there.
    pub async fn look(self: &Arc<Self>, name: &Name) -> S3Result<Option<Found>> {
        let found = self.look_once(name).await?;
        if let Some(Found { stamp, about, recognized: true, .. }) = &found {
            let (this, name, stamp, about) = (self.clone(), name.clone(), *stamp, about.clone());
            detached(async move {
                let _held = this.keys.hold(name.clone()).await;
                let layout = this.layout.clone();
                blocking(move || objects::remember(&layout, &name, stamp, &about)).await
            })
            .await?;
        }
        Ok(found)
    }

    async fn look_once(&self, name: &Name) -> S3Result<Option<Found>> {
        let (layout, name) = (self.layout.clone(), name.clone());
        blocking(move || objects::find(&layout, &name)).await
    }

    /// Waits for a write of the key that was let through and is not in its place yet. Who looks after that sees it, and
    /// knows that whatever is written later was asked about later.
    pub async fn settled(&self, name: &Name) {
        drop(self.keys.hold(name.clone()).await);
    }

    pub async fn find(self: &Arc<Self>, name: &Name) -> S3Result<Found> {
        match self.look(name).await? {
            Some(found) => Ok(found),
            None => {
                self.must_have_bucket(name.bucket())?;
                Err(s3_error!(NoSuchKey, "The object does not exist"))
            }
        }
    }

    /// Puts a complete object in its place, if conditions and guard allow it. Goes on to its end also where the client
    /// goes away meanwhile.
    pub async fn replace(self: &Arc<Self>, access_key: String, name: Name, object: Complete, conditions: Conditions) -> S3Result<Placed> {
        let this = self.clone();
        detached(async move {
            let _bucket = this.buckets.read().await;
            this.must_have_bucket(name.bucket())?;
            let _held = this.keys.hold(name.clone()).await;
            let old = this.look_once(&name).await?;
            let found = old.as_ref().map(|old| (etag(&old.about.etag), old.modified));
            conditions.of_write(found.as_ref().map(|(etag, modified)| (etag, *modified)))?;
            let stored = old.as_ref().map(Found::stored);
            let new = objects::stored(object.new.path().to_owned(), object.bytes, &object.about);
            let write = Replacing { access_key: &access_key, bucket: name.bucket(), key: name.key(), old: stored.as_ref(), new: &new };
            match (this.guard.replace(write).await, old) {
                (Replace::Refuse(refusal), _) => return Err(refusal.into()),
                (Replace::KeepOld, Some(old)) => return Ok(Placed { about: old.about, modified: old.modified }),
                // There is nothing that could be kept.
                (Replace::Allow | Replace::KeepOld, _) => {}
            }
            let layout = this.layout.clone();
            blocking(move || {
                let Complete { new, file, about, .. } = object;
                let modified = objects::put(&layout, &name, new, &file, &about)?;
                Ok(Placed { about, modified })
            })
            .await
        })
        .await
    }

    /// What is not there is deleted already.
    pub async fn delete(self: &Arc<Self>, access_key: String, name: Name) -> S3Result<()> {
        let this = self.clone();
        detached(async move {
            let _held = this.keys.hold(name.clone()).await;
            if let Some(old) = this.look_once(&name).await? {
                let old = old.stored();
                let deletion = Deleting { access_key: &access_key, bucket: name.bucket(), key: name.key(), old: &old };
                if let Delete::Refuse(refusal) = this.guard.delete(deletion).await {
                    return Err(refusal.into());
                }
            }
            let layout = this.layout.clone();
            blocking(move || objects::delete(&layout, &name)).await
        })
        .await
    }
}

/// Runs to its end also where the request that wants it is dropped: a lock must not be released before the work under
/// it is done.
pub async fn detached<T: Send + 'static>(work: impl Future<Output = S3Result<T>> + Send + 'static) -> S3Result<T> {
    tokio::spawn(carried(Asking::now(), work)).await.map_err(|error| failed(io::Error::other(error)))?
}

pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> S3Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten().map_err(failed)
}

/// The objects of one bucket, for readers in this process.
#[derive(Debug)]
pub struct Local {
    pub layout: Layout,
    pub bucket: String,
}

impl Local {
    fn name(&self, key: &ObjectKey) -> io::Result<Name> {
        Name::new(&self.bucket, key.as_str()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
    }
}

impl LocalObjects for Local {
    fn folder(&self) -> &Path {
        self.layout.root()
    }

    fn open(&self, key: &ObjectKey) -> io::Result<Option<LocalObject>> {
        let found = objects::find(&self.layout, &self.name(key)?)?;
        Ok(found.map(|found| LocalObject { bytes: found.bytes(), etag: found.about.etag, file: found.file }))
    }

    fn sync(&self, key: &ObjectKey) -> io::Result<()> {
        objects::sync(&self.layout, &self.name(key)?)
    }
}
