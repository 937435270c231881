//! `/qa`: how episodes are judged.

#![expect(clippy::disallowed_methods, reason = "a run that a person asks for gets a name, and goes on when they do not wait")]

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::AppState;
use super::auth::Caller;
use super::episodes::found;
use super::extract::{Json, MaybeJson, Params, PathId, word};
use super::policy::Policy;
use super::problem::{Code, Problem, failed};
use super::routes::Routes;
use super::wire::WholeSecond;
use super::words::{GradeWord, QaStatusWord, RunModeWord, VerdictWord};
use crate::domain::Timestamp;
use crate::domain::episode::{QaStatus, RunMode, TellingCheck, check_id};
use crate::domain::judgement::{CheckResult, Verdict};
use crate::projections::reads::qa::{JudgedEpisode, JudgedFilter, QaRunShown};
use crate::projections::reads::{Listed, Page};
use crate::qa::{NotRun, Ran};
use crate::telemetry::{brief, chain};

pub fn routes() -> Routes {
    // Not for every role: who judges decides what is worth something.
    let policy = Policy::JUDGE;
    Routes::default()
        .at(policy.by_offset_only(), routes!(list))
        .at(policy, routes!(checks))
        .at(policy.keyed().reading_objects(), routes!(run))
}

/// What one check said of one episode.
#[derive(Debug, Serialize, ToSchema)]
pub struct QaCheck {
    /// Names it.
    id: i64,
    /// The id of the episode.
    episode_id: i64,
    /// Which check.
    check_name: String,
    /// Whether nothing is wrong.
    passed: bool,
    /// 1 where all is well, 0 where nothing is, and in between.
    score: f64,
    /// What it found.
    details: String,
    /// Numbers and places behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    check_metadata: Option<Value>,
    /// When.
    checked_at: WholeSecond,
}

/// The same, with how bad it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct QaCheckOfRun {
    #[serde(flatten)]
    check: QaCheck,
    /// `warn` is worse than `pass`, and fails nothing by itself.
    #[schema(value_type = GradeWord)]
    result: &'static str,
    /// The run it belongs to: checks of one run were made together.
    run_id: i64,
}

impl QaCheck {
    pub fn telling(check: TellingCheck, episode_id: i64) -> Self {
        Self {
            id: check.id,
            episode_id,
            check_name: check.check_name,
            passed: check.passed,
            score: check.score,
            details: check.details,
            check_metadata: metadata(check.check_metadata),
            checked_at: check.checked_at.into(),
        }
    }
}

/// The numbers behind a check, where it has any.
fn metadata(numbers: BTreeMap<String, Value>) -> Option<Value> {
    (!numbers.is_empty()).then(|| numbers.into_iter().collect::<serde_json::Map<_, _>>().into())
}

/// All checks of a run, in the order of its suite.
fn of_run(run_id: i64, episode_id: i64, at: Timestamp, checks: &[CheckResult]) -> Vec<QaCheckOfRun> {
    let one = |(place, check): (usize, &CheckResult)| QaCheckOfRun {
        check: QaCheck {
            id: check_id(run_id, place),
            episode_id,
            check_name: check.name.clone(),
            passed: check.passed(),
            score: check.score.unwrap_or_default(),
            details: check.details.clone(),
            check_metadata: metadata(check.numbers.clone()),
            checked_at: at.into(),
        },
        result: check.result.as_str(),
        run_id,
    };
    checks.iter().enumerate().map(one).collect()
}

/// An episode, and the check that says most about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct QaEpisode {
    /// Names it in requests.
    id: i64,
    /// The id that people and the cloud see.
    public_id: String,
    /// The same.
    episode_id: String,
    /// Its task's id.
    task_id: i64,
    /// The id that devices know the task by.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_public_id: Option<String>,
    /// The kind of robot that recorded it; empty where that is not known any more.
    robot_type: String,
    /// How it stands.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_flag: Option<String>,
    /// When it was verified.
    created_at: WholeSecond,
    /// Of the last run: the check that the flag comes from, or the last that passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_qa_check: Option<QaCheck>,
}

impl From<JudgedEpisode> for QaEpisode {
    fn from(row: JudgedEpisode) -> Self {
        let id = row.id.0;
        Self {
            id,
            public_id: row.own.episode_id.clone(),
            episode_id: row.own.episode_id,
            task_id: row.own.task_id.0,
            task_public_id: Some(row.own.task_public_id.into()),
            robot_type: row.robot_type.unwrap_or_default(),
            qa_status: row.own.qa_status.as_str(),
            quality_flag: row.own.quality_flag,
            created_at: row.created_at.into(),
            latest_qa_check: row.own.latest_check.map(|check| QaCheck::telling(check, id)),
        }
    }
}

/// Which part of a list, by number of the page.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pagination {
    /// From 1 on.
    page: i64,
    /// How many a page has at most.
    page_size: i64,
    /// How many there are on all pages.
    total: i64,
}

/// One page of episodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct QaEpisodes {
    /// The entries of this page.
    items: Vec<QaEpisode>,
    /// Which page it is.
    pagination: Pagination,
    /// How many there are on all pages.
    total: i64,
    /// How many a page has at most.
    limit: i64,
    /// How many come before this page.
    offset: i64,
    /// Whether a page follows; left out where none does.
    #[serde(rename = "hasNext", skip_serializing_if = "std::ops::Not::not")]
    has_next: bool,
    /// Whether a page comes before; left out where none does.
    #[serde(rename = "hasPrev", skip_serializing_if = "std::ops::Not::not")]
    has_prev: bool,
}

const PAGE_SIZE: i64 = 20;
const PAGE_SIZE_MAX: i64 = 100;

/// What a reader wants to see unless they say otherwise: what a person may have to do something about.
const OPEN: [QaStatus; 3] = [QaStatus::PendingQa, QaStatus::Failed, QaStatus::NeedsInspection];
const APPROVED: [QaStatus; 2] = [QaStatus::Approved, QaStatus::InspectorApproved];

fn statuses(params: &Params) -> Result<Option<Vec<QaStatus>>, Problem> {
    let Some(text) = params.text("status") else { return Ok(Some(OPEN.into())) };
    let text = text.to_lowercase();
    if text == "all" {
        return Ok(None);
    }
    if text == "approved" {
        return Ok(Some(APPROVED.into()));
    }
    let unsupported = |word: &str| Problem::invalid(format!("unsupported qa status \"{}\"", brief(word))).with("field", "status");
    let one = |item: &String| {
        let word = item.to_lowercase();
        word.parse().ok().filter(|status| *status != QaStatus::Approved).ok_or_else(|| unsupported(&word))
    };
    // A list of nothing filters nothing.
    params.list(&["status"])?.map(|items| items.iter().map(one).collect()).transpose()
}

fn number(params: &Params, name: &str, default: i64) -> Result<i64, Problem> {
    let number = |text: String| text.parse().ok().filter(|number| *number >= 1 && *number <= i64::from(i32::MAX));
    match params.text(name) {
        None => Ok(default),
        Some(text) => number(text).ok_or_else(|| Problem::of_field(name, "must be a positive integer")),
    }
}

/// Episodes by how they were judged, newest first; without a filter those that wait for a verdict or have a bad one.
#[utoipa::path(get, path = "/api/v1/qa/episodes", tag = "qa", params(
    ("status" = Option<String>, Query, description = "`all`; `approved`, which includes `inspector_approved`; or a list of the other statuses, separated by commas"),
    ("robot_type" = Option<String>, Query, description = "Name or model"),
    ("q" = Option<String>, Query, description = "Somewhere in the ids of episode or task, or in the flag"),
    ("page" = Option<i64>, Query, description = "From 1 on"),
    ("page_size" = Option<i64>, Query, description = "1 to 100, default 20"),
), responses((status = 200, body = QaEpisodes), (status = 400, description = "A status or a page that there is not")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<QaEpisodes>, Problem> {
    let (page, size) = (number(&params, "page", 1)?, number(&params, "page_size", PAGE_SIZE)?.min(PAGE_SIZE_MAX));
    let filter = JudgedFilter { statuses: statuses(&params)?, robot_type: params.text("robot_type"), text: params.text("q") };
    let offset = (page - 1) * size;
    let Listed { rows, total, .. } =
        state.reads.judged_episodes(&caller.scope, &filter, Page { limit: Some(size), offset, after: None }).await?;
    Ok(Json(QaEpisodes {
        items: rows.into_iter().map(QaEpisode::from).collect(),
        pagination: Pagination { page, page_size: size, total },
        total,
        limit: size,
        offset,
        has_next: offset + size < total,
        has_prev: offset > 0,
    }))
}

/// What cannot be meant, in the words of the contract; any other refusal as it is.
fn in_words(problem: Problem, words: &str) -> Problem {
    if problem.status() == StatusCode::BAD_REQUEST { problem.in_short(words) } else { problem }
}

fn in_path(id: Result<PathId, Problem>) -> Result<PathId, Problem> {
    let of_episode = |problem| in_words(problem, "invalid episode id");
    let id = id.map_err(of_episode)?;
    id.positive().map_err(of_episode)?;
    Ok(id)
}

/// All checks of an episode.
#[derive(Debug, Serialize, ToSchema)]
pub struct QaChecks {
    /// The newest run first.
    items: Vec<QaCheckOfRun>,
}

fn checks_of(run: &QaRunShown) -> Result<Vec<QaCheckOfRun>, Problem> {
    let checks: Vec<CheckResult> = serde_json::from_value(run.own.checks.clone()).map_err(|error| failed(&error.into()))?;
    Ok(of_run(run.id, run.own.episode_id.0, run.created_at, &checks))
}

/// What the checks said of an episode, the newest run first; of a hundred runs at most.
#[utoipa::path(get, path = "/api/v1/qa/episodes/{id}/checks", tag = "qa", params(("id" = i64, Path)), responses(
    (status = 200, body = QaChecks),
    (status = 404, description = "There is no such episode"),
))]
pub async fn checks(State(state): State<AppState>, caller: Caller, id: Result<PathId, Problem>) -> Result<Json<QaChecks>, Problem> {
    let episode = found(&state, &caller.scope, in_path(id)?).await?;
    let runs = state.reads.qa_runs(episode.id).await?;
    let items = runs.iter().map(checks_of).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    Ok(Json(QaChecks { items }))
}

/// How to run the checks.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct NewRun {
    /// `auto` judges only what waits for its first verdict; default `manual`.
    #[schema(value_type = Option<RunModeWord>)]
    mode: Option<String>,
}

/// What a run came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunResult {
    /// The id of the episode.
    episode_id: i64,
    /// As it is now. A person's decision, and the wait for one, stay.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
    /// Whether the run would approve it.
    passed: bool,
    /// As it was asked for.
    #[schema(value_type = RunModeWord)]
    mode: &'static str,
    /// What the run says, whether or not the status follows it.
    #[schema(value_type = VerdictWord)]
    verdict: &'static str,
    /// Between 0 and 1.
    score: f64,
    /// What is wrong with it.
    #[schema(required)]
    quality_flag: Option<String>,
    /// By which rules.
    suite: String,
    /// Which version of them.
    suite_version: u32,
    /// The reference that it was compared with; null where there is none for it.
    #[schema(required)]
    reference_id: Option<i64>,
    /// In the order of the suite; a check that does not apply is left out.
    checks: Vec<QaCheckOfRun>,
}

/// A run that waits for checkers elsewhere, and holds the episode until then.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunWaiting {
    /// The id of the episode.
    episode_id: i64,
    /// `qa_running`; or where no run changes it, what it is.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
    /// As it was asked for.
    #[schema(value_type = RunModeWord)]
    mode: &'static str,
    /// The outside checks that it waits for.
    waits_for: Vec<String>,
    /// Then it ends at the latest.
    until: WholeSecond,
}

impl From<NotRun> for Problem {
    fn from(not_run: NotRun) -> Self {
        match not_run {
            NotRun::Command(error) => error.into(),
            NotRun::Storage(_) | NotRun::TimedOut(_) => {
                let why = chain(&not_run);
                tracing::warn!(error = why, "A run of the checks was given up: {why}");
                Problem::new(Code::QaNotDone, "failed to run qa suite").with("reason", not_run.to_string())
            }
        }
    }
}

/// Run the checks over an episode, now.
#[utoipa::path(post, path = "/api/v1/qa/episodes/{id}/run", tag = "qa", params(("id" = i64, Path)), request_body(content = Option<NewRun>), responses(
    (status = 200, body = RunResult, description = "It was judged, whatever the verdict"),
    (status = 202, body = RunWaiting, description = "Its suite has outside checks: it is judged when their checkers have reported, or when their time is over",
        example = json!({"episode_id": 1, "qa_status": "qa_running", "mode": "manual", "waits_for": ["grasp"], "until": "2026-11-27T00:30:56Z"})),
    (status = 400, description = "No such mode"),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "Another run goes on, or an automatic one is not due"),
    (status = 502, description = "Its objects cannot be read, and nothing has changed"),
))]
pub async fn run(
    State(state): State<AppState>,
    caller: Caller,
    id: Result<PathId, Problem>,
    body: Result<MaybeJson<NewRun>, Problem>,
) -> Result<Response, Problem> {
    let id = in_path(id)?;
    let MaybeJson(body) = body.map_err(|problem| in_words(problem, "invalid qa run request"))?;
    let mode = match body.mode.as_deref() {
        None => RunMode::Manual,
        Some(text) => word("mode", text)
            .ok()
            .filter(|mode| *mode != RunMode::Apply)
            .ok_or_else(|| Problem::of_field("mode", "must be manual or auto"))?,
    };
    let episode = found(&state, &caller.scope, id).await?.id;
    let (runs, context) = (state.runs.clone(), caller.context());
    // To its end also where the caller goes away: what it found is stored all the same.
    let running = tokio::spawn(async move {
        let name = format!("{}/{}", mode.as_str(), Uuid::new_v4());
        runs.run(&context, episode, &name, mode).await
    });
    let answer = match running.await {
        Ok(answer) => answer?,
        Err(error) => return Err(failed(&error.into())),
    };
    let answer = match answer {
        Ran::Ended(answer) => *answer,
        Ran::Waits(waits) => {
            let qa_status = found(&state, &caller.scope, id).await?.own.qa_status.as_str();
            let waits_for = waits.jobs.into_iter().map(|awaited| awaited.check).collect();
            let waiting = RunWaiting { episode_id: episode.0, qa_status, mode: mode.as_str(), waits_for, until: waits.until.into() };
            return Ok((StatusCode::ACCEPTED, Json(waiting)).into_response());
        }
    };
    let judgement = answer.ended.judgement;
    let result = RunResult {
        episode_id: episode.0,
        qa_status: answer.status.as_str(),
        passed: judgement.verdict == Verdict::Approved,
        mode: mode.as_str(),
        verdict: judgement.verdict.as_str(),
        score: judgement.score,
        quality_flag: judgement.flag,
        suite: judgement.suite,
        suite_version: judgement.suite_version,
        reference_id: judgement.reference.map(|named| named.id.0),
        checks: of_run(answer.ended.number, episode.0, answer.ended.at, &judgement.checks),
    };
    Ok(Json(result).into_response())
}
