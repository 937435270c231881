//! Skills: each slug in versions.

use serde_json::Value;

use super::entry::{Changed, Entry, register};
use super::slugs::{self, Slugged};
use crate::commands::{Command, CommandError, Work};
use crate::domain::SkillId;
use crate::domain::registry::{Registered, Skill};
use crate::projections::facts::Need;

#[derive(Clone, Debug)]
pub struct CreateSkill {
    pub slug: String,
    pub version: Option<String>,
    pub description: Option<String>,
    pub metadata: Option<Value>,
}
impl Command for CreateSkill {
    type Answer = SkillId;
    const NAME: &'static str = "create_skill";
    async fn run(&self, work: &mut Work) -> Result<SkillId, CommandError> {
        slugs::hold::<Skill>(work, &[&self.slug]).await?;
        let record = Skill {
            slug: self.slug.clone(),
            version: self.version.clone().unwrap_or_else(|| slugs::FIRST_VERSION.into()),
            description: self.description.clone(),
            metadata: self.metadata.clone(),
        };
        Ok(SkillId(register(work, record).await?))
    }
}

/// What may be another one of a skill. Its slug is that of all versions, and its version stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SkillChange {
    pub slug: Option<String>,
    pub description: Option<Option<String>>,
    /// Named, it has to be the one that it is.
    pub version: Option<String>,
    pub metadata: Option<Value>,
}

impl Slugged for Skill {
    const TABLE: &'static str = "skills";
    fn slug(&self) -> &str {
        &self.slug
    }
    fn named(&self, slug: &str) -> Self {
        Self { slug: slug.to_owned(), ..self.clone() }
    }
}

impl Entry for Skill {
    type Stream = Registered<Self>;
    const CHANGE: &'static str = "change_skill";
    const DELETE: &'static str = "delete_skill";
    const IDS: &'static str = "skill_ids";
    const WHAT: &'static str = "skill";
    const NEEDED_BY: &'static [Need] = &[Need {
        counted: "select count(*) from sops where skill_sequence @> array[$1::bigint]",
        what: "SOPs that name it:",
        advice: "take it out of their sequences first",
        is_conflict: true,
    }];
    type Change = SkillChange;

    async fn is_seen(&self, _: &mut Work, _: i64) -> Result<bool, CommandError> {
        Ok(true)
    }

    async fn changed(&self, work: &mut Work, id: i64, change: &SkillChange) -> Result<Changed<Self>, CommandError> {
        let SkillChange { slug, description, version, metadata } = change.clone();
        slugs::version_stays(&self.version, version.as_deref())?;
        let to = Self {
            slug: slugs::renamed(work, self, id, slug).await?,
            version: self.version.clone(),
            description: description.unwrap_or_else(|| self.description.clone()),
            metadata: metadata.or_else(|| self.metadata.clone()),
        };
        Ok(to.into())
    }

    async fn follow(&self, work: &mut Work, id: i64, now: &Self) -> Result<(), CommandError> {
        slugs::rename_others(work, self, id, now).await
    }
}
