//! Slugs of skills and SOPs: one name for all versions, which is changed for all of them at once.

use super::entry::Entry;
use crate::commands::{CommandError, Refusal, Work};
use crate::domain::RefusalCode;
use crate::domain::registry::{Live as _, RecordCommand};
use crate::projections::facts;

/// The version of an entry that names none.
pub(super) const FIRST_VERSION: &str = "1.0.0";

/// An entry that has a slug and a version.
pub(super) trait Slugged: Entry {
    const TABLE: &'static str;
    fn slug(&self) -> &str;
    /// The same under another slug.
    fn named(&self, slug: &str) -> Self;
}

/// Who makes a version of a slug, or gives all of its versions another one, waits for others who do.
pub(super) async fn hold<R: Slugged>(work: &mut Work, slugs: &[&str]) -> Result<(), CommandError> {
    Ok(facts::hold_slugs(&mut work.tx, R::TABLE, slugs).await?)
}

pub(super) fn version_stays(version: &str, given: Option<&str>) -> Result<(), Refusal> {
    match given {
        Some(given) if given != version => {
            let text = format!("the version is {version} and cannot be changed; create the version {given} of it");
            Err(Refusal::invalid(RefusalCode::VersionFixed, text))
        }
        _ => Ok(()),
    }
}

/// The slug that it will have: one that no other entry has, whatever its version. Another spelling of its own is none of others.
pub(super) async fn renamed<R: Slugged>(work: &mut Work, entry: &R, id: i64, slug: Option<String>) -> Result<String, CommandError> {
    let Some(slug) = slug.filter(|slug| slug != entry.slug()) else { return Ok(entry.slug().to_owned()) };
    hold::<R>(work, &[entry.slug(), &slug]).await?;
    if facts::versions_of_slug(&mut work.tx, R::TABLE, &slug, entry.slug()).await? > 0 {
        let text = format!("the slug {slug} is in use already");
        return Err(Refusal::new(RefusalCode::NameTaken, text).about(&crate::domain::StreamId::of::<R::Stream>(id)).into());
    }
    Ok(slug)
}

/// Gives the other versions the slug that this one has now.
pub(super) async fn rename_others<R: Slugged>(work: &mut Work, before: &R, id: i64, now: &R) -> Result<(), CommandError> {
    if now.slug() == before.slug() {
        return Ok(());
    }
    let others = facts::other_versions(&mut work.tx, R::TABLE, before.slug(), id).await?;
    // Without their locks, which others may hold who wait for the slug: who changes one meanwhile comes first, and this is run again.
    let ids: Vec<String> = others.iter().map(ToString::to_string).collect();
    for mut other in work.load_many::<R::Stream>(&ids).await? {
        let Some(record) = other.state.live().cloned() else { continue };
        work.decide(&mut other, RecordCommand::Change { to: record.named(now.slug()), beside: false })?;
    }
    Ok(())
}
