//! Suites: drafted, changed, put to use, retired.

use super::{Command, CommandError, Refusal, Work};
use crate::domain::judgement::Suite;
use crate::domain::qa_suite::{QaSuite, SuiteCommand, SuiteScope};
use crate::domain::{QaSuiteId, RefusalCode};
use crate::eventstore::Loaded;
use crate::projections::facts;
use crate::quality::unknown;

/// A version of a suite, to be put to use or not.
#[derive(Clone, Debug)]
pub struct DraftSuite {
    pub scope: SuiteScope,
    /// Its version is given here.
    pub rules: Suite,
    pub note: Option<String>,
}

async fn check(work: &mut Work, scope: SuiteScope, rules: &Suite) -> Result<(), CommandError> {
    let there = match scope {
        SuiteScope::All => true,
        SuiteScope::RobotType(id) => facts::robot_type_exists(&mut work.tx, id.0).await?,
        SuiteScope::Sop(id) => facts::sop_exists(&mut work.tx, id).await?,
    };
    if !there {
        let what = scope.kind().as_str();
        return Err(Refusal::new(RefusalCode::SuiteUnfit, format!("scope: there is no {what} {}", scope.id().unwrap_or_default())).into());
    }
    unknown(rules).map_or(Ok(()), |why| Err(Refusal::new(RefusalCode::SuiteUnfit, why).into()))
}

impl Command for DraftSuite {
    type Answer = QaSuiteId;
    const NAME: &'static str = "draft_suite";

    async fn run(&self, work: &mut Work) -> Result<QaSuiteId, CommandError> {
        check(work, self.scope, &self.rules).await?;
        let shipped = Suite::default();
        let taken = facts::newest_suite_version(&mut work.tx, &self.rules.name).await?;
        // The shipped one is the first of its name.
        let taken = if self.rules.name == shipped.name { taken.max(shipped.version) } else { taken };
        let suite = Suite { version: taken + 1, ..self.rules.clone() };
        let id = facts::new_ids(&mut work.tx, "qa_suite_ids", 1).await?[0];
        let draft = SuiteCommand::Draft { scope: self.scope, suite, note: self.note.clone() };
        work.decide(&mut Loaded::<QaSuite>::absent(id), draft)?;
        Ok(QaSuiteId(id))
    }
}

/// Other rules for a draft. Name and version stay.
#[derive(Clone, Debug)]
pub struct ChangeSuite {
    pub id: QaSuiteId,
    pub scope: SuiteScope,
    pub rules: Suite,
    pub note: Option<String>,
}

impl Command for ChangeSuite {
    type Answer = ();
    const NAME: &'static str = "change_suite";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        check(work, self.scope, &self.rules).await?;
        let mut suite = work.lock_and_load::<QaSuite>(self.id).await?;
        let change = SuiteCommand::Change { scope: self.scope, suite: self.rules.clone(), note: self.note.clone() };
        work.decide(&mut suite, change)?;
        Ok(())
    }
}

/// From now on new episodes of its scope are judged by it. The one before it is retired.
#[derive(Clone, Debug)]
pub struct ActivateSuite(pub QaSuiteId);

impl Command for ActivateSuite {
    type Answer = ();
    const NAME: &'static str = "activate_suite";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let at = work.now;
        let mut suite = work.lock_and_load::<QaSuite>(self.0).await?;
        if work.decide(&mut suite, SuiteCommand::Activate { at })? == 0 {
            return Ok(());
        }
        let QaSuite::Version(version) = &suite.state else { return Ok(()) };
        if let Some(before) = facts::active_suite_of_scope(&mut work.tx, version.scope).await? {
            let mut before = work.lock_and_load::<QaSuite>(before).await?;
            work.decide(&mut before, SuiteCommand::Retire { replaced_by: Some(self.0), at })?;
        }
        Ok(())
    }
}

/// Nothing is judged by it any more.
#[derive(Clone, Debug)]
pub struct RetireSuite(pub QaSuiteId);

impl Command for RetireSuite {
    type Answer = ();
    const NAME: &'static str = "retire_suite";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let at = work.now;
        let mut suite = work.lock_and_load::<QaSuite>(self.0).await?;
        work.decide(&mut suite, SuiteCommand::Retire { replaced_by: None, at })?;
        Ok(())
    }
}
