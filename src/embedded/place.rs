//! Where the private cluster lies, when the user that it runs as cannot reach the data folder.
//!
//! Then it lies under a root that every user can reach, and the data folder has a link to it. Both carry the same id:
//! `postgres.id` beside the link, `belongs_to` in the place, which also names the link. So a data folder that is made
//! anew never takes the database of an earlier one for its own, and a copy of a data folder does not take away the
//! database of the original.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::{private_folder, write_private};

/// Roots of clusters that cannot lie below the data folder.
const SHARED_ROOT: &str = "/var/lib/keystone-edge";

/// The file in a place that says whose it is: the id, and the link on a line of its own.
const OWNER_FILE: &str = "belongs_to";

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("cannot use {path} for the Postgres cluster", path = path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{link} names the Postgres cluster {place}, which is not there. Bring it back, or remove the link to begin with an empty database",
        link = link.display(), place = place.display()
    )]
    Gone { link: PathBuf, place: PathBuf },
    #[error(
        "{link} names the Postgres cluster {place}, which belongs to another data folder. Remove the link to begin with an empty \
         database; to use this one nevertheless, remove {id} and {owner}",
        link = link.display(), place = place.display(), id = id_file(link).display(), owner = place.join(OWNER_FILE).display()
    )]
    NotOurs { link: PathBuf, place: PathBuf },
    #[error(
        "{link} and {other} name the same Postgres cluster, {place}: one data folder is a copy of the other. Remove {link} to begin \
         with an empty database here, or remove the other data folder",
        link = link.display(), other = other.display(), place = place.display()
    )]
    Shared { link: PathBuf, other: PathBuf, place: PathBuf },
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> PlaceError + use<> {
    let path = path.to_path_buf();
    move |source| PlaceError::Io { path, source }
}

/// `asked` itself where `user` can reach it; otherwise the place that its link names, made at the first start.
pub fn place_for(asked: &Path, user: &User) -> Result<PathBuf, PlaceError> {
    let parent = asked.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(io_at(parent))?;
    let parent = parent.canonicalize().map_err(io_at(parent))?;
    let link = parent.join(asked.file_name().unwrap_or_default());
    if let Ok(place) = fs::read_link(&link) {
        require_ours(&link, &place)?;
        return Ok(place);
    }
    let fresh = !link.join("data/PG_VERSION").exists();
    if fresh {
        name_leftovers(&link);
    }
    if parent.ancestors().all(|folder| may_enter(folder, user.uid, user.gid)) {
        return Ok(link);
    }
    let place = make_place(&link)?;
    info!("The user `{}` cannot reach {}; the Postgres cluster lies in {}", user.name, link.display(), place.display());
    Ok(place)
}

fn make_place(link: &Path) -> Result<PathBuf, PlaceError> {
    let root = Path::new(SHARED_ROOT);
    DirBuilder::new().recursive(true).mode(0o711).create(root).map_err(io_at(root))?;
    // Also where the umask, or an earlier version under it, said otherwise: users pass through, and do not look around.
    fs::set_permissions(root, fs::Permissions::from_mode(0o711)).map_err(io_at(root))?;
    let id = hex::encode(rand::random::<[u8; 8]>());
    let place = root.join(&id);
    private_folder(&place).map_err(io_at(&place))?;
    mark(link, &place, &id)?;
    // An empty folder may be left from before; one with content holds data that is not ours to delete.
    if link.is_dir() {
        fs::remove_dir(link).map_err(io_at(link))?;
    }
    symlink(&place, link).map_err(io_at(link))?;
    Ok(place)
}

/// Refuses a place that is another data folder's.
fn require_ours(link: &Path, place: &Path) -> Result<(), PlaceError> {
    let (link, place) = (link.to_path_buf(), place.to_path_buf());
    if !place.is_dir() {
        return Err(PlaceError::Gone { link, place });
    }
    match (read_id(&link), Owner::read(&place)) {
        // Made by a version that did not mark them, or marked as to be taken over.
        (None, None) => mark(&link, &place, &hex::encode(rand::random::<[u8; 8]>())),
        (Some(ours), Some(owner)) if ours == owner.id => {
            if owner.link == link {
                return Ok(());
            }
            // Moved, unless the other one is still there.
            if read_id(&owner.link).is_some_and(|theirs| theirs == ours) && fs::read_link(&owner.link).is_ok_and(|named| named == place) {
                return Err(PlaceError::Shared { link, other: owner.link, place });
            }
            mark(&link, &place, &ours)
        }
        _ => Err(PlaceError::NotOurs { link, place }),
    }
}

fn id_file(link: &Path) -> PathBuf {
    link.with_extension("id")
}

fn read_id(link: &Path) -> Option<String> {
    Some(fs::read_to_string(id_file(link)).ok()?.trim().to_owned())
}

struct Owner {
    id: String,
    link: PathBuf,
}

impl Owner {
    fn read(place: &Path) -> Option<Self> {
        let text = fs::read_to_string(place.join(OWNER_FILE)).ok()?;
        let (id, link) = text.split_once('\n')?;
        Some(Self { id: id.to_owned(), link: PathBuf::from(link.trim_end_matches('\n')) })
    }
}

/// The place first: a start that is killed in between finds nothing in the data folder that names it.
fn mark(link: &Path, place: &Path, id: &str) -> Result<(), PlaceError> {
    let owner = place.join(OWNER_FILE);
    write_private(&owner, format!("{id}\n{}\n", link.display()).as_bytes()).map_err(io_at(&owner))?;
    let file = id_file(link);
    write_private(&file, format!("{id}\n").as_bytes()).map_err(io_at(&file))
}

/// Says which clusters earlier data folders of this path have left.
fn name_leftovers(link: &Path) {
    // Versions that did not mark a place named it after the path.
    let unmarked = hex::encode(Sha256::digest(link.as_os_str().as_encoded_bytes()));
    for place in fs::read_dir(SHARED_ROOT).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let theirs = match Owner::read(&place) {
            Some(owner) => owner.link == link,
            None => place.file_name().is_some_and(|name| name == &unmarked[..16]),
        };
        if theirs {
            warn!(
                "{place} holds the database of an earlier data folder and is not used. Remove it; or, to go on with it, stop, \
                 replace {link} by a link to it, and remove {id} and {owner}",
                place = place.display(),
                link = link.display(),
                id = id_file(link).display(),
                owner = place.join(OWNER_FILE).display(),
            );
        }
    }
}

fn may_enter(folder: &Path, uid: Uid, gid: Gid) -> bool {
    let Ok(facts) = fs::metadata(folder) else {
        return false;
    };
    let bit = if facts.uid() == uid.as_raw() {
        0o100
    } else if facts.gid() == gid.as_raw() {
        0o010
    } else {
        0o001
    };
    facts.mode() & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data folder with a link to a place, and that place.
    fn moved() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let (data, place) = (temp.path().join("data"), temp.path().join("place"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&place).unwrap();
        let link = data.join("postgres");
        symlink(&place, &link).unwrap();
        (temp, link, place)
    }

    #[test]
    fn a_place_of_an_earlier_version_is_marked() {
        let (_temp, link, place) = moved();
        require_ours(&link, &place).unwrap();
        let owner = Owner::read(&place).unwrap();
        assert_eq!((owner.link, Some(owner.id)), (link.clone(), read_id(&link)));
        require_ours(&link, &place).unwrap();
    }

    #[test]
    fn a_place_that_is_gone_is_not_replaced_by_an_empty_one() {
        let (_temp, link, place) = moved();
        fs::remove_dir_all(&place).unwrap();
        assert!(matches!(require_ours(&link, &place), Err(PlaceError::Gone { .. })));
    }

    #[test]
    fn a_data_folder_that_was_moved_takes_its_place_along_and_a_copy_does_not() {
        let (temp, link, place) = moved();
        require_ours(&link, &place).unwrap();
        let elsewhere = temp.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let copy = elsewhere.join("postgres");
        symlink(&place, &copy).unwrap();
        fs::copy(id_file(&link), id_file(&copy)).unwrap();
        assert!(matches!(require_ours(&copy, &place), Err(PlaceError::Shared { .. })));
        fs::remove_dir_all(link.parent().unwrap()).unwrap();
        require_ours(&copy, &place).unwrap();
        assert_eq!(Owner::read(&place).unwrap().link, copy);
    }

    #[test]
    fn the_place_of_another_data_folder_is_refused_until_a_person_says_otherwise() {
        let (_temp, link, place) = moved();
        require_ours(&link, &place).unwrap();
        fs::write(id_file(&link), "another\n").unwrap();
        let refused = require_ours(&link, &place).unwrap_err();
        assert!(matches!(refused, PlaceError::NotOurs { .. }));
        assert!(refused.to_string().contains("postgres.id"), "{refused}");
        fs::remove_file(id_file(&link)).unwrap();
        assert!(require_ours(&link, &place).is_err());
        fs::remove_file(place.join(OWNER_FILE)).unwrap();
        require_ours(&link, &place).unwrap();
    }
}
