//! SOPs: each slug in versions, and each with skills in an order.

use super::entry::{Changed, Entry, register};
use super::slugs::{self, Slugged};
use crate::commands::{Command, CommandError, Refusal, Work};
use crate::domain::registry::{Registered, Sop};
use crate::domain::{RefusalCode, SkillId, SopId};
use crate::projections::facts::{self, Need};

/// Who names skills keeps them until the commit.
async fn skills_must_exist(work: &mut Work, skills: &[SkillId]) -> Result<(), CommandError> {
    let known = facts::skills(&mut work.tx, skills).await?;
    match skills.iter().find(|skill| !known.contains(skill)) {
        None => Ok(()),
        Some(unknown) => Err(Refusal::new(RefusalCode::SkillNotFound, format!("there is no skill {unknown}")).into()),
    }
}

#[derive(Clone, Debug)]
pub struct CreateSop {
    pub slug: String,
    pub version: Option<String>,
    pub description: Option<String>,
    pub skill_sequence: Vec<SkillId>,
}

impl Command for CreateSop {
    type Answer = SopId;
    const NAME: &'static str = "create_sop";
    async fn run(&self, work: &mut Work) -> Result<Self::Answer, CommandError> {
        slugs::hold::<Sop>(work, &[&self.slug]).await?;
        skills_must_exist(work, &self.skill_sequence).await?;
        let record = Sop {
            slug: self.slug.clone(),
            version: self.version.clone().unwrap_or_else(|| slugs::FIRST_VERSION.into()),
            description: self.description.clone(),
            skill_sequence: self.skill_sequence.clone(),
        };
        Ok(SopId(register(work, record).await?))
    }
}

/// What may be another one of an SOP. Its slug is that of all versions, and its version stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SopChange {
    pub slug: Option<String>,
    pub description: Option<Option<String>>,
    /// Named, it has to be the one that it is.
    pub version: Option<String>,
    pub skill_sequence: Option<Vec<SkillId>>,
}

impl Slugged for Sop {
    const TABLE: &'static str = "sops";
    fn slug(&self) -> &str {
        &self.slug
    }
    fn named(&self, slug: &str) -> Self {
        Self { slug: slug.to_owned(), ..self.clone() }
    }
}

impl Entry for Sop {
    type Stream = Registered<Self>;
    const CHANGE: &'static str = "change_sop";
    const DELETE: &'static str = "delete_sop";
    const IDS: &'static str = "sop_ids";
    const WHAT: &'static str = "SOP";
    const NEEDED_BY: &'static [Need] = &[Need {
        counted: "select count(*) from tasks where sop_id = $1",
        what: "tasks that follow it:",
        advice: "an SOP that was worked by stays for their sake",
        is_conflict: true,
    }];
    type Change = SopChange;

    async fn is_seen(&self, _: &mut Work, _: i64) -> Result<bool, CommandError> {
        Ok(true)
    }

    async fn changed(&self, work: &mut Work, id: i64, change: &SopChange) -> Result<Changed<Self>, CommandError> {
        let SopChange { slug, description, version, skill_sequence } = change.clone();
        slugs::version_stays(&self.version, version.as_deref())?;
        let slug = slugs::renamed(work, self, id, slug).await?;
        if let Some(sequence) = &skill_sequence {
            // What it named before, it may go on naming: older versions did not look.
            let new: Vec<SkillId> = sequence.iter().copied().filter(|skill| !self.skill_sequence.contains(skill)).collect();
            skills_must_exist(work, &new).await?;
        }
        let to = Self {
            slug,
            version: self.version.clone(),
            description: description.unwrap_or_else(|| self.description.clone()),
            skill_sequence: skill_sequence.unwrap_or_else(|| self.skill_sequence.clone()),
        };
        Ok(to.into())
    }

    async fn follow(&self, work: &mut Work, id: i64, now: &Self) -> Result<(), CommandError> {
        slugs::rename_others(work, self, id, now).await
    }
}
