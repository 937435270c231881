//! `/qa/suites`: the rules that episodes are judged by.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params, PathId, PathText};
use super::fields::{GivenId, MISSING, MaybeReason, Name};
use super::made::Made;
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::wire::{Paged, WholeSecond};
use super::words::{PartWord, ScopeKindWord, SuiteStateWord};
use crate::commands::suites::{ActivateSuite, ChangeSuite, DraftSuite, RetireSuite};
use crate::domain::judgement::{CheckSpec, OutsideTerms, Part, Role, Suite};
use crate::domain::qa_suite::{ScopeKind, SuiteScope};
use crate::domain::{QaSuiteId, RobotTypeId, SopId};
use crate::projections::reads::suites::SuiteShown;
use crate::projections::reads::{ReadError, Reads};

pub fn routes() -> Routes {
    let policy = Policy::MANAGE.closed().shared().exact();
    Routes::default()
        .at(policy, routes!(list))
        .at(policy, routes!(get))
        .at(policy.keyed(), routes!(draft))
        .at(policy, routes!(change))
        .at(policy.keyed(), routes!(activate))
        .at(policy.keyed(), routes!(retire))
}

/// A check in a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRule {
    /// Which one; `docs/quality.md` has all.
    #[schema(max_length = 100)]
    name: String,
    /// Whether what fails it is failed, whatever the score.
    #[serde(default)]
    gate: bool,
    /// The part that it counts in, where it is no gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PartWord>)]
    part: Option<String>,
    /// How much it counts in its part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    weight: Option<u32>,
    /// Whether a person has to look at what it warns of, whatever the score.
    #[serde(default)]
    looked_at: bool,
    /// Its numbers, where they differ from the shipped ones; of an outside check those that its checker is told.
    #[serde(default)]
    limits: BTreeMap<String, f64>,
    /// Where a checker makes it that is a program elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outside: Option<OutsideRule>,
}

/// How a checker elsewhere is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutsideRule {
    /// For so long an episode waits for it, in seconds. What is not done then makes it need an inspection.
    #[schema(minimum = 5, maximum = 86400)]
    deadline_s: u32,
}

/// Rules, complete: a check that is not there is not made.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SuiteRules {
    /// From this score on a recording is approved.
    #[schema(minimum = 0, maximum = 1)]
    approve_at: f64,
    /// Below this one it is failed, and in between a person looks; 0: a low score alone fails nothing.
    #[schema(minimum = 0, maximum = 1)]
    fail_below: f64,
    /// What each part counts.
    parts: BTreeMap<String, u32>,
    /// In the order in which they are told.
    checks: Vec<CheckRule>,
}

/// Which episodes a suite is for.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenScope {
    /// Default `all`.
    #[schema(value_type = Option<ScopeKindWord>)]
    kind: Option<String>,
    /// Of the robot type or the SOP.
    id: Option<GivenId>,
}

/// The same, as it is answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownScope {
    /// What kind of scope.
    #[schema(value_type = ScopeKindWord)]
    kind: &'static str,
    /// Of the robot type or the SOP; null where it is for all.
    #[schema(required)]
    id: Option<i64>,
}

/// A version of a suite.
#[derive(Debug, Serialize, ToSchema)]
pub struct SuiteOfSite {
    /// Names it in requests; `default` is the shipped one, which has no number.
    id: String,
    /// Its name.
    name: String,
    /// Which version of it.
    version: u32,
    /// Which episodes it is for.
    scope: ShownScope,
    /// Only what is `active` judges.
    #[schema(value_type = SuiteStateWord)]
    state: &'static str,
    /// What a person said of it.
    #[schema(required)]
    note: Option<String>,
    /// When it was drafted; null of the shipped one.
    #[schema(required)]
    created_at: Option<WholeSecond>,
    /// Since when it judges, or judged.
    #[schema(required)]
    activated_at: Option<WholeSecond>,
    /// When it was retired.
    #[schema(required)]
    retired_at: Option<WholeSecond>,
    #[serde(flatten)]
    rules: SuiteRules,
}

fn wire(suite: &Suite) -> SuiteRules {
    let check = |spec: &CheckSpec| {
        let (gate, part, weight) = match spec.role {
            Role::Gate => (true, None, None),
            Role::Part(part, weight) => (false, Some(part.as_str().to_owned()), Some(weight)),
        };
        let outside = spec.outside.map(|terms| OutsideRule { deadline_s: terms.deadline_s });
        CheckRule { name: spec.name.clone(), gate, part, weight, looked_at: spec.looked_at, limits: spec.limits.clone(), outside }
    };
    SuiteRules {
        approve_at: suite.approve_at,
        fail_below: suite.fail_below,
        parts: suite.parts.iter().map(|(part, weight)| (part.as_str().to_owned(), *weight)).collect(),
        checks: suite.checks.iter().map(check).collect(),
    }
}

fn part(text: &str, field: &str) -> Result<Part, Problem> {
    text.parse().map_err(|unknown| Problem::of_field(field, unknown))
}

/// The rules as values; what they may be, the domain says.
fn rules(name: String, given: SuiteRules) -> Result<Suite, Problem> {
    let check = |(at, rule): (usize, CheckRule)| {
        let field = |name: &str| format!("checks[{at}].{name}");
        let role = match (rule.gate, rule.part, rule.weight) {
            (true, None, None) => Role::Gate,
            (true, ..) => return Err(Problem::of_field(&field("gate"), "a gate belongs to no part and has no weight")),
            (false, Some(text), Some(weight)) => Role::Part(part(&text, &field("part"))?, weight),
            (false, ..) => return Err(Problem::of_field(&field("part"), "and weight are required where it is no gate")),
        };
        let outside = rule.outside.map(|rule| OutsideTerms { deadline_s: rule.deadline_s });
        Ok(CheckSpec { name: rule.name, role, looked_at: rule.looked_at, limits: rule.limits, outside })
    };
    let parts = given.parts.into_iter().map(|(text, weight)| Ok((part(&text, "parts")?, weight)));
    Ok(Suite {
        name,
        version: 0,
        approve_at: given.approve_at,
        fail_below: given.fail_below,
        parts: parts.collect::<Result<_, Problem>>()?,
        checks: given.checks.into_iter().enumerate().map(check).collect::<Result<_, Problem>>()?,
    })
}

fn scope(given: Option<GivenScope>) -> Result<SuiteScope, Problem> {
    let given = given.unwrap_or_default();
    let kind = given.kind.as_deref().map_or(Ok(ScopeKind::All), str::parse).map_err(|unknown| Problem::of_field("scope.kind", unknown))?;
    match (kind, given.id) {
        (ScopeKind::All, None) => Ok(SuiteScope::All),
        (ScopeKind::All, Some(_)) => Err(Problem::of_field("scope.id", "is for a scope of another kind")),
        (ScopeKind::RobotType, Some(id)) => Ok(SuiteScope::RobotType(RobotTypeId(id.0))),
        (ScopeKind::Sop, Some(id)) => Ok(SuiteScope::Sop(SopId(id.0))),
        (ScopeKind::RobotType | ScopeKind::Sop, None) => Err(Problem::of_field("scope.id", "is required")),
    }
}

impl From<SuiteShown> for SuiteOfSite {
    fn from(row: SuiteShown) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.own.name,
            version: row.own.rules.version,
            scope: ShownScope { kind: row.own.scope_kind.as_str(), id: row.own.scope_id },
            state: row.own.state.as_str(),
            note: row.own.note,
            created_at: Some(row.created_at.into()),
            activated_at: row.own.activated_at.map(WholeSecond),
            retired_at: row.own.retired_at.map(WholeSecond),
            rules: wire(&row.own.rules),
        }
    }
}

/// The word for the suite that the program brings.
pub const SHIPPED: &str = "default";

fn as_shipped(suite: &Suite) -> SuiteOfSite {
    SuiteOfSite {
        id: SHIPPED.to_owned(),
        name: suite.name.clone(),
        version: suite.version,
        scope: ShownScope { kind: ScopeKind::All.as_str(), id: None },
        // It judges wherever no other one does.
        state: "active",
        note: None,
        created_at: None,
        activated_at: None,
        retired_at: None,
        rules: wire(suite),
    }
}

/// Suites, newest first. The one that is shipped, which judges where no other does, is not in the list.
#[utoipa::path(get, path = "/api/v1/qa/suites", tag = "qa", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("state" = Option<SuiteStateWord>, Query, description = "Only those that are so"),
    ("name" = Option<String>, Query, description = "Only versions of this one"),
), responses((status = 200, body = Paged<SuiteOfSite>), (status = 400, description = "No such state, or a page that there is not")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<Paged<SuiteOfSite>>, Problem> {
    let page = params.page_to_100()?;
    let listed = state.reads.suites(params.word("state")?, params.text("name").as_deref(), page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

/// One version of a suite, complete, as it can be drafted again.
#[utoipa::path(get, path = "/api/v1/qa/suites/{id}", tag = "qa", params(("id" = String, Path, description = "Its id, or `default` for the shipped one")), responses(
    (status = 200, body = SuiteOfSite),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, PathText(id): PathText) -> Result<Json<SuiteOfSite>, Problem> {
    SuiteOfSite::named(&state.reads, state.runs.default_suite(), &id).await?.map(Json).ok_or_else(no_suite)
}

impl SuiteOfSite {
    /// By its id, or by the word for the one that is `shipped`.
    pub async fn named(reads: &Reads, shipped: &Suite, id: &str) -> Result<Option<Self>, ReadError> {
        if id == SHIPPED {
            return Ok(Some(as_shipped(shipped)));
        }
        let Some(id) = kept(id) else { return Ok(None) };
        Ok(reads.suite(id).await?.map(Self::from))
    }
}

/// The rules of a suite, and which episodes they are for.
pub async fn found(reads: &Reads, shipped: &Suite, id: &str) -> Result<(SuiteScope, Suite), Problem> {
    if id == SHIPPED {
        return Ok((SuiteScope::All, shipped.clone()));
    }
    let row = reads.suite(kept(id).ok_or_else(no_suite)?).await?.ok_or_else(no_suite)?;
    Ok((scope_of(&row), row.own.rules))
}

/// Which episodes it is for.
pub fn scope_of(row: &SuiteShown) -> SuiteScope {
    let of = row.own.scope_id.unwrap_or_default();
    match row.own.scope_kind {
        ScopeKind::All => SuiteScope::All,
        ScopeKind::RobotType => SuiteScope::RobotType(RobotTypeId(of)),
        ScopeKind::Sop => SuiteScope::Sop(SopId(of)),
    }
}

/// The id of a suite that the site has made.
pub fn kept(id: &str) -> Option<QaSuiteId> {
    id.parse().ok().filter(|id: &i64| *id > 0).map(QaSuiteId)
}

pub fn no_suite() -> Problem {
    Problem::not_found("suite")
}

async fn shown(state: &AppState, id: QaSuiteId) -> Result<SuiteOfSite, Problem> {
    state.reads.suite(id).await?.map(SuiteOfSite::from).ok_or_else(no_suite)
}

/// A version of a suite to be. What `GET` answers beside the rules is taken and has no meaning here: so an answer can be edited and sent again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenSuite {
    /// Versions of one name are counted from 1; those of `default` from 2. A draft needs one, and keeps it.
    name: Option<Name>,
    /// Which episodes it is for; by default all.
    scope: Option<GivenScope>,
    /// Why it is as it is.
    note: Option<MaybeReason>,
    /// From this score on a recording is approved.
    #[schema(minimum = 0, maximum = 1)]
    approve_at: f64,
    /// Below this one it is failed, and in between a person looks; 0: a low score alone fails nothing.
    #[schema(minimum = 0, maximum = 1)]
    fail_below: f64,
    /// What each part counts.
    parts: BTreeMap<String, u32>,
    /// In the order in which they are told; a check that is not there is not made.
    checks: Vec<CheckRule>,
    #[schema(ignore)]
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "state")]
    _state: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "created_at")]
    _created_at: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "activated_at")]
    _activated_at: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "retired_at")]
    _retired_at: Option<IgnoredAny>,
}

impl GivenSuite {
    /// What it says, as a suite of this name.
    fn named(self, name: String) -> Result<(Suite, SuiteScope, Option<String>), Problem> {
        let Self { approve_at, fail_below, parts, checks, .. } = self;
        let rules = rules(name, SuiteRules { approve_at, fail_below, parts, checks })?;
        Ok((rules, scope(self.scope)?, MaybeReason::said(self.note)))
    }

    pub fn drafted(mut self) -> Result<DraftSuite, Problem> {
        let name = self.name.take().ok_or_else(|| Problem::of_field("name", MISSING))?.0;
        let (rules, scope, note) = self.named(name)?;
        Ok(DraftSuite { rules, scope, note })
    }

    /// The name of a draft stays, whatever name the file has that its rules were written in.
    pub fn of(self, id: QaSuiteId, name: String) -> Result<ChangeSuite, Problem> {
        let (rules, scope, note) = self.named(name)?;
        Ok(ChangeSuite { id, scope, rules, note })
    }
}

/// Draft a version of a suite. Nothing is judged by it before it is activated.
#[utoipa::path(post, path = "/api/v1/qa/suites", tag = "qa", request_body = GivenSuite, responses(
    (status = 201, body = SuiteOfSite),
    (status = 400, description = "Rules that cannot be meant, with what is wrong with them"),
))]
pub async fn draft(State(state): State<AppState>, caller: Caller, Json(body): Json<GivenSuite>) -> Result<Made<SuiteOfSite>, Problem> {
    let id = state.commands.execute(&caller.context(), body.drafted()?).await?;
    Ok(Made::created(id, shown(&state, id)).await)
}

/// Change a draft: all its rules at once. Its name and version stay.
#[utoipa::path(put, path = "/api/v1/qa/suites/{id}", tag = "qa", params(("id" = i64, Path)), request_body = GivenSuite, responses(
    (status = 200, body = SuiteOfSite),
    (status = 400, description = "Rules that cannot be meant"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It is no draft any more"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(body): Json<GivenSuite>,
) -> Result<Made<SuiteOfSite>, Problem> {
    let id = QaSuiteId(id.positive()?);
    let before = state.reads.suite(id).await?.ok_or_else(no_suite)?;
    state.commands.execute(&caller.context(), body.of(id, before.own.name)?).await?;
    Ok(Made::read(StatusCode::OK, serde_json::json!({ "id": id }), shown(&state, id)).await)
}

/// Judge by it from now on. What was active in its scope is retired; verdicts that were given stay.
#[utoipa::path(post, path = "/api/v1/qa/suites/{id}/activate", tag = "qa", params(("id" = i64, Path)), responses(
    (status = 200, body = SuiteOfSite),
    (status = 404, description = "There is none"),
    (status = 409, description = "It is retired"),
))]
pub async fn activate(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Made<SuiteOfSite>, Problem> {
    let id = QaSuiteId(id.positive()?);
    state.commands.execute(&caller.context(), ActivateSuite(id)).await?;
    Ok(Made::read(StatusCode::OK, serde_json::json!({ "id": id }), shown(&state, id)).await)
}

/// Judge by it no more. Without another one of its scope, those of wider scopes do, and the shipped one at last.
#[utoipa::path(post, path = "/api/v1/qa/suites/{id}/retire", tag = "qa", params(("id" = i64, Path)), responses(
    (status = 200, body = SuiteOfSite),
    (status = 404, description = "There is none"),
))]
pub async fn retire(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Made<SuiteOfSite>, Problem> {
    let id = QaSuiteId(id.positive()?);
    state.commands.execute(&caller.context(), RetireSuite(id)).await?;
    Ok(Made::read(StatusCode::OK, serde_json::json!({ "id": id }), shown(&state, id)).await)
}
