//! `/qa/outside-checks` and `/qa/outside-jobs`: work for checkers that are programs elsewhere.
//!
//! A checker asks for the next job of its check, reads the recording by the link that it gets, says every now and then that it
//! is at work, and says what it found. Nothing of that goes the other way: a checker needs no address.
//!
//! For administrators: what a checker says decides about episodes without a person seeing it, which is more than an inspector
//! may do, whose decisions are compared with those of others.

#![expect(clippy::disallowed_methods, reason = "the token of a claim is drawn here, and kept nowhere")]

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::episodes::rounded;
use super::extract::{Json, Params, PathId, PathText};
use super::fields::{MayBeEmpty, Name, Text};
use super::location::Location;
use super::made::Made;
use super::policy::Policy;
use super::problem::{Problem, failed};
use super::routes::Routes;
use super::storage::signed_link;
use super::wire::{Paged, WholeSecond};
use super::words::{JobStateWord, NotDoneCauseWord, OutsideResultWord, SeverityWord};
use crate::commands::outside_jobs::{ClaimOutsideJob, ClaimedJob, ProlongOutsideJob, ReportOutsideJob};
use crate::commands::registration::TokenHash;
use crate::domain::judgement::{Grade, OutsideFinding, OutsideReport};
use crate::domain::{EpisodeId, OutsideJobId};
use crate::projections::reads::outside_jobs::{OutsideJobFilter, OutsideJobShown, OutsideJobWhole};

/// What a report with all its findings may have.
const REPORT_BYTES_MAX: usize = 256 << 10;

pub fn routes() -> Routes {
    let policy = Policy::MANAGE.closed();
    Routes::default()
        .at(policy.download(), routes!(claim))
        .at(policy, routes!(list))
        .at(policy, routes!(get))
        .at(policy, routes!(heartbeat))
        .at(policy.at_most(REPORT_BYTES_MAX), routes!(report))
}

type CheckerName = Text<100>;
type ClaimToken = Text<100>;
type Details = MayBeEmpty<1000>;
type Message = Text<500>;
const FINDINGS_MAX: usize = 50;
const NUMBERS_MAX: usize = 50;
const NUMBER_NAME: usize = 60;
/// Larger numbers lose their decimals.
const NUMBER_MAX: f64 = 1e9;

/// Who asks for a job.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClaim {
    /// What the checker calls itself, so that people know which one has it.
    checker: CheckerName,
}

/// What a job is about.
#[derive(Debug, Serialize, ToSchema)]
pub struct EpisodeToCheck {
    /// Names it in requests.
    id: i64,
    /// The id that people and the cloud see.
    episode_id: String,
    /// Its task's id.
    task_id: i64,
    /// The id that devices know the task by.
    task_public_id: String,
    /// By which SOP it was recorded.
    sop_id: i64,
    /// Where it was recorded.
    station_id: i64,
    /// What was recorded.
    scene_name: String,
    /// In which variant.
    subscene_name: String,
    /// How long it is, in seconds.
    #[schema(required)]
    duration_sec: Option<f64>,
    /// How many messages it has.
    message_count: u64,
    /// Of the recording.
    size_bytes: u64,
    /// SHA-256 of the recording, in hex.
    sha256: String,
}

/// A job, and what is needed to do it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimedOutsideJob {
    /// Names the job in requests.
    id: i64,
    /// Shown with a heartbeat and with the result. Another claim makes it void.
    token: String,
    /// Until when nobody else may claim the job; a heartbeat makes it later.
    lease_until: WholeSecond,
    /// How many seconds that is. Heartbeats every third of it are enough.
    lease_s: u64,
    /// After this nobody waits for the result.
    deadline: WholeSecond,
    /// Which claim of the job it is, from 1.
    attempt: u32,
    /// Which check is wanted.
    check: String,
    /// The numbers that the suite has for it.
    limits: BTreeMap<String, f64>,
    /// By which rules the episode is judged.
    suite: String,
    /// Which version of them.
    suite_version: u32,
    /// What it is about.
    episode: EpisodeToCheck,
    /// Where the recording is read, whole or in ranges: a path on this server that works without a login, for a while.
    mcap_url: String,
    /// The same of the sidecar; null where there is none.
    #[schema(required)]
    sidecar_url: Option<String>,
    /// What the task wanted: topics, and how long.
    #[schema(value_type = Object)]
    wants: Value,
    /// What was measured of the recording: the stored facts.
    #[schema(value_type = Object)]
    facts: Value,
}

fn claimed(state: &AppState, token: String, job: ClaimedJob) -> Result<ClaimedOutsideJob, Problem> {
    let link = |path: &str| Location::of_path(path, &state.settings.bucket).map(|location| signed_link(state, location));
    let json = |value: serde_json::Result<Value>| value.map_err(|error| failed(&error.into()));
    let (created, task) = (job.created, job.task);
    Ok(ClaimedOutsideJob {
        id: job.job.0,
        token,
        lease_until: job.lease_until.into(),
        lease_s: state.settings.outside.lease.as_secs(),
        deadline: task.deadline.into(),
        attempt: job.attempt,
        check: task.check,
        limits: task.limits,
        suite: task.suite,
        suite_version: task.suite_version,
        mcap_url: link(&created.mcap_path)?,
        sidecar_url: created.sidecar_path.as_deref().map(link).transpose()?,
        episode: EpisodeToCheck {
            id: task.episode_id.0,
            episode_id: created.episode_id,
            task_id: created.task_id.0,
            task_public_id: created.public_task_id.into(),
            sop_id: created.sop_id.0,
            station_id: created.station_id.0,
            scene_name: created.scene_name,
            subscene_name: created.subscene_name,
            duration_sec: created.duration_sec,
            message_count: created.message_count,
            size_bytes: created.file_size_bytes,
            sha256: created.checksum,
        },
        wants: json(serde_json::to_value(&job.measured.wants))?,
        facts: json(serde_json::to_value(&job.measured.facts))?,
    })
}

/// Claim the next job of a check: the one whose deadline is nearest. 204 where nothing waits; ask again in a few seconds.
#[utoipa::path(post, path = "/api/v1/qa/outside-checks/{name}/claim", tag = "qa", params(("name" = String, Path, description = "The name of the check, as its suite has it")),
    request_body = NewClaim, responses(
    (status = 200, body = ClaimedOutsideJob),
    (status = 204),
    (status = 400, description = "A name that is missing or too long"),
))]
pub async fn claim(
    State(state): State<AppState>,
    caller: Caller,
    PathText(check): PathText,
    Json(body): Json<NewClaim>,
) -> Result<Response, Problem> {
    let token = hex::encode(rand::random::<[u8; 32]>());
    let claim = ClaimOutsideJob { check, checker: body.checker.0, token_sha256: TokenHash::of(&token).0, terms: state.settings.outside };
    Ok(match state.commands.execute(&caller.context(), claim).await? {
        Some(job) => Json(claimed(&state, token, *job)?).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// A checker is at work.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// That of the claim.
    token: ClaimToken,
}

/// The claim holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct Prolonged {
    /// Until when nobody else may claim the job.
    lease_until: WholeSecond,
}

/// Say that a job is worked on: the claim holds for another while, and not beyond the deadline.
#[utoipa::path(post, path = "/api/v1/qa/outside-jobs/{id}/heartbeat", tag = "qa", params(("id" = i64, Path)), request_body = Heartbeat, responses(
    (status = 200, body = Prolonged),
    (status = 404, description = "There is no such job"),
    (status = 409, description = "The claim is void, or the job is over: stop working on it"),
))]
pub async fn heartbeat(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(body): Json<Heartbeat>,
) -> Result<Json<Prolonged>, Problem> {
    let (job, token_sha256) = (OutsideJobId(id.positive()?), TokenHash::of(&body.token.0).0);
    let until = state.commands.execute(&caller.context(), ProlongOutsideJob { job, token_sha256, terms: state.settings.outside }).await?;
    Ok(Json(Prolonged { lease_until: until.into() }))
}

/// One thing that a checker found.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenFinding {
    /// How bad it is.
    severity: SeverityWord,
    /// What it is.
    message: Message,
    /// In which topic.
    topic: Option<Name>,
    /// When, in seconds from the beginning of the recording.
    #[schema(minimum = 0, maximum = 1_000_000)]
    at_s: Option<f64>,
}

/// What a checker says of a recording.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenReport {
    /// That of the claim.
    token: ClaimToken,
    /// What it comes to.
    #[schema(value_type = OutsideResultWord)]
    result: String,
    /// 0 to 1; without it 1 for a pass, 0 for a fail, a half for a warning.
    #[schema(minimum = 0, maximum = 1)]
    score: Option<f64>,
    /// What it found, in a sentence.
    details: Option<Details>,
    /// Numbers behind it, at most 50; their names are lower-case letters, digits and `_`.
    numbers: Option<BTreeMap<String, f64>>,
    /// Single things that it found, at most 50.
    #[schema(max_items = 50)]
    findings: Option<Vec<GivenFinding>>,
}

fn finding((at, given): (usize, GivenFinding)) -> Result<OutsideFinding, Problem> {
    if given.at_s.is_some_and(|seconds| !(0.0..=1e6).contains(&seconds)) {
        return Err(Problem::of_field(&format!("findings[{at}].at_s"), "must be from 0 to 1000000"));
    }
    Ok(OutsideFinding {
        severity: given.severity.0,
        message: given.message.0,
        topic: given.topic.map(|topic| topic.0),
        at_s: given.at_s.map(|seconds| rounded(seconds, 6)),
    })
}

fn numbers(given: BTreeMap<String, f64>) -> Result<BTreeMap<String, f64>, Problem> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let wrong = |why: String| Err(Problem::of_field("numbers", why));
    if given.len() > NUMBERS_MAX {
        return wrong(format!("has at most {NUMBERS_MAX}"));
    }
    if given.keys().any(|name| name.is_empty() || name.len() > NUMBER_NAME || !name.chars().all(plain) || name == "findings") {
        return wrong(format!("are named by lower-case letters, digits and `_`, at most {NUMBER_NAME}, and none `findings`"));
    }
    if given.values().any(|number| !(-NUMBER_MAX..=NUMBER_MAX).contains(number)) {
        return wrong(format!("must be from -{NUMBER_MAX} to {NUMBER_MAX}"));
    }
    Ok(given.into_iter().map(|(name, number)| (name, rounded(number, 6))).collect())
}

fn report_of(given: GivenReport) -> Result<OutsideReport, Problem> {
    let not_said = || Problem::of_field("result", "must be pass, warn, fail or not_applicable");
    let result: Grade = given.result.parse().map_err(|_| not_said())?;
    let usual = match result {
        Grade::Pass => 1.0,
        Grade::Warn => 0.5,
        Grade::Fail | Grade::NotApplicable => 0.0,
        Grade::NotDone => return Err(not_said()),
    };
    let score = given.score.unwrap_or(usual);
    if !(0.0..=1.0).contains(&score) {
        return Err(Problem::of_field("score", "must be from 0 to 1"));
    }
    let findings = given.findings.unwrap_or_default();
    if findings.len() > FINDINGS_MAX {
        return Err(Problem::of_field("findings", format_args!("has at most {FINDINGS_MAX}")));
    }
    Ok(OutsideReport {
        result,
        score: rounded(score, 3),
        details: MayBeEmpty::said(given.details).unwrap_or_default(),
        numbers: numbers(given.numbers.unwrap_or_default())?,
        findings: findings.into_iter().enumerate().map(finding).collect::<Result<_, _>>()?,
    })
}

/// A job of a check.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutsideJob {
    /// Names it in requests.
    id: i64,
    /// The id of the episode.
    episode_id: i64,
    /// Which check is wanted.
    check: String,
    /// How it stands. What is `claimed` may be lost: its lease tells.
    #[schema(value_type = JobStateWord)]
    state: &'static str,
    /// By which rules the episode is judged.
    suite: String,
    /// Which version of them.
    suite_version: i32,
    /// After this nobody waits for it.
    deadline: WholeSecond,
    /// How often it was claimed.
    attempts: i32,
    /// Who claimed it last.
    #[schema(required)]
    checker: Option<String>,
    /// Until when that holds.
    #[schema(required)]
    lease_until: Option<WholeSecond>,
    /// Why it was not done.
    #[schema(required, value_type = Option<NotDoneCauseWord>)]
    not_done_cause: Option<&'static str>,
    /// When the episode was judged and had to wait for it.
    created_at: WholeSecond,
    /// When it was reported or given up.
    #[schema(required)]
    settled_at: Option<WholeSecond>,
}

impl From<OutsideJobShown> for OutsideJob {
    fn from(row: OutsideJobShown) -> Self {
        Self {
            id: row.id.0,
            episode_id: row.own.episode_id.0,
            check: row.own.check_name,
            state: row.own.state.as_str(),
            suite: row.own.suite,
            suite_version: row.own.suite_version,
            deadline: row.own.deadline.into(),
            attempts: row.own.attempts,
            checker: row.own.checker,
            lease_until: row.own.lease_until.map(WholeSecond),
            not_done_cause: row.own.not_done_cause.map(|cause| cause.as_str()),
            created_at: row.created_at.into(),
            settled_at: row.own.settled_at.map(WholeSecond),
        }
    }
}

/// A job, with what was reported.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutsideJobInFull {
    #[serde(flatten)]
    job: OutsideJob,
    /// What the checker said: result, score, details, numbers, findings; null before.
    #[schema(required, value_type = Option<Object>)]
    report: Option<Value>,
}

async fn shown(state: &AppState, caller: &Caller, id: OutsideJobId) -> Result<OutsideJobInFull, Problem> {
    let row = state.reads.outside_job(&caller.scope, id).await?.ok_or_else(|| Problem::not_found("outside job"))?;
    let OutsideJobWhole { id, own, created_at, updated_at, said } = row;
    let report = said.map(serde_json::to_value).transpose().map_err(|error| failed(&error.into()))?;
    Ok(OutsideJobInFull { job: OutsideJobShown { id, own, created_at, updated_at }.into(), report })
}

/// Report what was found. The same report again is answered in the same way; another one, and one of a claim that is void, is refused
/// and changes nothing. With the last one that an episode waits for it is judged.
#[utoipa::path(post, path = "/api/v1/qa/outside-jobs/{id}/result", tag = "qa", params(("id" = i64, Path)), request_body = GivenReport, responses(
    (status = 200, body = OutsideJobInFull),
    (status = 400, description = "A result, a number or a finding that cannot be"),
    (status = 404, description = "There is no such job"),
    (status = 409, description = "The claim is void, the job is over, or it was reported with another result"),
))]
pub async fn report(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(body): Json<GivenReport>,
) -> Result<Made<OutsideJobInFull>, Problem> {
    let (job, token_sha256) = (OutsideJobId(id.positive()?), TokenHash::of(&body.token.0).0);
    let report = report_of(body)?;
    state.commands.execute(&caller.context(), ReportOutsideJob { job, token_sha256, report }).await?;
    Ok(Made::read(StatusCode::OK, serde_json::json!({ "id": job }), shown(&state, &caller, job)).await)
}

/// Jobs of outside checks, newest first.
#[utoipa::path(get, path = "/api/v1/qa/outside-jobs", tag = "qa", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("check" = Option<String>, Query, description = "Only of this check"),
    ("state" = inline(Option<JobStateWord>), Query, description = "Only those that are so"),
    ("episode_id" = Option<i64>, Query, description = "Only of this episode, by its number"),
), responses((status = 200, body = Paged<OutsideJob>), (status = 400, description = "No such state, or a page that there is not")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<OutsideJob>>, Problem> {
    let page = params.page_to_100()?;
    let episode = params.id_list(&["episode_id"], EpisodeId)?.and_then(|ids| ids.first().copied());
    let filter = OutsideJobFilter { check: params.text("check"), state: params.word("state")?, episode };
    Ok(Json(Paged::new(state.reads.outside_jobs(&caller.scope, &filter, page).await?, &page)))
}

/// One job, with what was reported.
#[utoipa::path(get, path = "/api/v1/qa/outside-jobs/{id}", tag = "qa", params(("id" = i64, Path)), responses(
    (status = 200, body = OutsideJobInFull),
    (status = 404, description = "There is no such job"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<OutsideJobInFull>, Problem> {
    Ok(Json(shown(&state, &caller, OutsideJobId(id.positive()?)).await?))
}
