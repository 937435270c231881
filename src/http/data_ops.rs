//! `/data-ops/episodes`: many episodes at once, listed by many filters, looked at before something is done about them, and done.

use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::bulk_runs::{BulkRun, shown};
use super::episode_filters::{Given, selection};
use super::episodes::rounded;
use super::extract::{Json, MaybeJson, Params};
use super::fields::Whole;
use super::made::Made;
use super::policy::Policy;
use super::problem::{Problem, failed};
use super::qa::QaCheck;
use super::routes::Routes;
use super::sync::clouds;
use super::sync_log::{SyncLog, newest_logs};
use super::wire::{Paged, WholeSecond};
use super::words::{BulkEpisodeActionWord, PreviewWord, QaStatusWord, SkipWord, SyncStatusWord};
use crate::commands::bulk_runs::AcceptBulkRun;
use crate::domain::EpisodeId;
use crate::domain::bulk_run::{BulkAction, BulkWork};
use crate::domain::episode::{EpisodeSelection, SyncStatus};
use crate::projections::reads::data_ops::{ForQa, ForSync, OperatedEpisode};

pub fn routes() -> Routes {
    let policy = Policy::MANAGE.closed();
    Routes::default()
        .at(policy, routes!(list))
        .at(policy.reading(), routes!(preview_qa))
        .at(policy.reading(), routes!(preview_sync))
        .at(policy.keyed(), routes!(run_qa))
        .at(policy.keyed(), routes!(run_sync))
}

/// An episode, with where it comes from and how it stands with checks and cloud.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperatedEpisodeShown {
    /// Names it in requests.
    id: i64,
    /// The id that people and the cloud see.
    episode_id: String,
    /// Its task's id.
    task_id: i64,
    /// The id that devices know the task by.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_public_id: Option<String>,
    /// What was recorded.
    scene_id: i64,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    scene_name: Option<String>,
    /// The SOP.
    #[serde(skip_serializing_if = "Option::is_none")]
    sop_id: Option<i64>,
    /// The same for people: slug and version.
    sop: String,
    /// The kind of robot.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_type_id: Option<i64>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_type: Option<String>,
    /// The device id of the robot.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_device_id: Option<String>,
    /// The login name of the collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    collector_operator_id: Option<String>,
    /// The name of the collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    collector_name: Option<String>,
    /// How it stands with checks.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_flag: Option<String>,
    /// Of the last run: the check that the flag comes from, or the last that passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_qa_check: Option<QaCheck>,
    /// How far it is on its way to the cloud.
    #[schema(value_type = SyncStatusWord)]
    sync_status: &'static str,
    /// What its newest log says.
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_sync_log: Option<SyncLog>,
    /// Whether the cloud has it.
    cloud_synced: bool,
    /// How long it is, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_sec: Option<f64>,
    /// Size of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    file_size_bytes: Option<u64>,
    /// What was noted about it.
    labels: Vec<String>,
    /// When it was verified.
    created_at: WholeSecond,
}

/// An SOP as people name it.
fn sop_text(row: &OperatedEpisode) -> String {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (said(&row.sop_slug), said(&row.sop_version)) {
        (Some(slug), Some(version)) => format!("{slug} @ {version}"),
        (Some(slug), None) => slug,
        (None, _) => format!("SOP #{}", row.own.sop_id.0),
    }
}

impl OperatedEpisodeShown {
    fn synced(self, log: Option<SyncLog>) -> Self {
        Self { sync_status: log.as_ref().map_or(self.sync_status, |log| log.status), latest_sync_log: log, ..self }
    }
}

impl From<OperatedEpisode> for OperatedEpisodeShown {
    fn from(row: OperatedEpisode) -> Self {
        let (id, sop) = (row.id.0, sop_text(&row));
        Self {
            id,
            episode_id: row.own.episode_id,
            task_id: row.own.task_id.0,
            task_public_id: Some(row.own.task_public_id.into()),
            scene_id: row.own.scene_id.0,
            scene_name: Some(row.own.scene_name).filter(|name| !name.is_empty()),
            sop_id: Some(row.own.sop_id.0),
            sop,
            robot_type_id: row.robot_type_id.map(|id| id.0),
            robot_type: row.robot_type,
            robot_device_id: row.robot_device_id.map(String::from),
            collector_operator_id: row.collector_operator_id,
            collector_name: row.collector_name,
            qa_status: row.own.qa_status.as_str(),
            quality_flag: row.own.quality_flag,
            latest_qa_check: row.own.latest_check.map(|check| QaCheck::telling(check, id)),
            sync_status: SyncStatus::NotStarted.as_str(),
            latest_sync_log: None,
            cloud_synced: row.own.cloud_synced,
            duration_sec: row.own.duration_sec.map(|seconds| rounded(seconds, 2)),
            file_size_bytes: Some(row.own.file_size_bytes.0),
            labels: row.own.labels,
            created_at: row.created_at.into(),
        }
    }
}

/// Episodes by many filters, newest first.
#[utoipa::path(get, path = "/api/v1/data-ops/episodes", tag = "operation", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("created_at_from" = Option<String>, Query, description = "RFC 3339, inclusive"),
    ("created_at_to" = Option<String>, Query, description = "RFC 3339, inclusive; a whole second is meant to its end"),
    ("q" = Option<String>, Query, description = "Somewhere in the ids of episode or task, or in the flag"),
    ("qa_status" = Option<String>, Query, description = "A list of statuses, separated by commas"),
    ("sync_status" = Option<String>, Query, description = "A list of statuses, separated by commas"),
    ("scene_id" = Option<String>, Query, description = "A list of ids, separated by commas"),
    ("sop_id" = Option<String>, Query, description = "A list of ids, separated by commas"),
    ("robot_type_id" = Option<String>, Query, description = "A list of ids, separated by commas"),
    ("robot_device_id" = Option<String>, Query, description = "A list of device ids, separated by commas"),
    ("collector_operator_id" = Option<String>, Query, description = "A list of login names, separated by commas"),
    ("label" = Option<String>, Query, description = "One label, exactly"),
), responses((status = 200, body = Paged<OperatedEpisodeShown>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<OperatedEpisodeShown>>, Problem> {
    let page = params.page_to_100()?;
    let selection = selection(&params)?;
    let listed = state.reads.operated_episodes(&caller.scope, &selection, page).await?;
    let ids: Vec<EpisodeId> = listed.rows.iter().map(|row| row.id).collect();
    let mut logs = newest_logs(&state.reads, &ids).await?;
    let listed = listed.map(|row| {
        let log = logs.remove(&row.id);
        OperatedEpisodeShown::from(row).synced(log)
    });
    Ok(Json(Paged::new(listed, &page)))
}

/// Filters of the list, each as one text; items of a list are separated by commas.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkFilters {
    /// Made at this time or later, as RFC 3339.
    created_at_from: Option<String>,
    /// Made at this time or earlier, as RFC 3339.
    created_at_to: Option<String>,
    /// Somewhere in the ids of episode or task, or in the flag.
    q: Option<String>,
    /// Statuses.
    qa_status: Option<String>,
    /// Statuses of their newest logs.
    sync_status: Option<String>,
    /// Ids.
    scene_id: Option<String>,
    /// Ids.
    sop_id: Option<String>,
    /// Ids.
    robot_type_id: Option<String>,
    /// Device ids.
    robot_device_id: Option<String>,
    /// Login names.
    collector_operator_id: Option<String>,
    /// One label, exactly.
    label: Option<String>,
    /// Of the page that was looked at; has no meaning here.
    limit: Option<String>,
    /// Of the page that was looked at; has no meaning here.
    offset: Option<String>,
}

impl Given for BulkFilters {
    const BOUNDED: bool = false;

    fn texts(&self, name: &str) -> Vec<&str> {
        let field = match name {
            "created_at_from" => &self.created_at_from,
            "created_at_to" => &self.created_at_to,
            "q" => &self.q,
            "qa_status" => &self.qa_status,
            "sync_status" => &self.sync_status,
            "scene_id" => &self.scene_id,
            "sop_id" => &self.sop_id,
            "robot_type_id" => &self.robot_type_id,
            "robot_device_id" => &self.robot_device_id,
            "collector_operator_id" => &self.collector_operator_id,
            "label" => &self.label,
            // Taken, and without a meaning.
            "limit" => &self.limit,
            "offset" => &self.offset,
            _ => return vec![],
        };
        field.iter().map(String::as_str).collect()
    }
}

/// How many episodes a caller knows there are.
type Count = Whole<0, { i64::MAX }>;

/// Which episodes are meant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EpisodesMeant {
    /// Which episodes; nothing said, or nothing in it, means every episode.
    filters: Option<BulkFilters>,
    /// True where every episode is meant: then no filter may say otherwise. False: then one has to.
    all: Option<bool>,
    /// What will be sent to have it done may be sent here as it is.
    #[schema(ignore)]
    #[serde(rename = "confirm")]
    _confirm: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "expected_count")]
    _expected_count: Option<IgnoredAny>,
}

/// Which episodes are meant, and that it is meant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkEpisodes {
    /// Which episodes; nothing said, or nothing in it, means every episode.
    filters: Option<BulkFilters>,
    /// True where every episode is meant: then no filter may say otherwise. False: then one has to.
    all: Option<bool>,
    /// True: it is to be done.
    #[schema(required, value_type = bool)]
    confirm: Option<bool>,
    /// As the preview counted them. Where by now they are others by more than a hundredth and by more than ten, nothing is done.
    expected_count: Option<Count>,
}

impl EpisodesMeant {
    pub fn selection(&self) -> Result<EpisodeSelection, Problem> {
        let selection = self.filters.as_ref().map(selection).transpose()?.unwrap_or_default();
        match (self.all, selection.is_everything()) {
            (Some(true), false) => Err(Problem::of_field("all", "and filters exclude each other")),
            (Some(false), true) => Err(Problem::of_field("all", "must be true where no filter says which episodes are meant")),
            _ => Ok(selection),
        }
    }
}

impl BulkEpisodes {
    /// What is meant, and how many are expected.
    pub fn confirmed(self) -> Result<(EpisodeSelection, Option<i64>), Problem> {
        match self.confirm {
            Some(true) => {
                let meant = EpisodesMeant { filters: self.filters, all: self.all, ..EpisodesMeant::default() };
                Ok((meant.selection()?, self.expected_count.map(|count| count.0)))
            }
            _ => Err(Problem::of_field("confirm", "must be true")),
        }
    }
}

/// Such a body, refused in the contract's words where it is another. None at all is one that says nothing.
pub struct BulkBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for BulkBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match MaybeJson::from_request(request, state).await {
            Ok(MaybeJson(body)) => Ok(Self(body)),
            Err(problem) if problem.status() == StatusCode::BAD_REQUEST => Err(problem.in_short("invalid bulk episode request")),
            Err(problem) => Err(problem),
        }
    }
}

/// How many would be skipped for the same reason.
#[derive(Debug, Serialize, ToSchema)]
pub struct Skipped {
    /// Why.
    #[schema(value_type = SkipWord)]
    reason: &'static str,
    /// How many.
    count: i64,
}

/// What would be done.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkPreview {
    /// Nothing is done yet.
    #[schema(value_type = PreviewWord)]
    status: &'static str,
    /// What would be done.
    #[schema(value_type = BulkEpisodeActionWord)]
    action: &'static str,
    /// How many episodes are meant.
    matched_count: i64,
    /// With how many of them something would be done.
    eligible_count: i64,
    /// With how many not.
    skipped_count: i64,
    /// Of the eligible ones: how many keep their status whatever the checks say. Left out where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    protected_status_count: Option<i64>,
    /// Of the cloud: whether episodes are pushed there at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_worker_running: Option<bool>,
    /// Why those are skipped, each for the first reason that holds.
    skipped_breakdown: Vec<Skipped>,
    /// What a person should know before.
    warnings: Vec<String>,
}

impl BulkPreview {
    /// So many of the eligible ones keep their status.
    pub fn keeping(self, protected: i64, keeps: impl Fn(i64) -> String) -> Self {
        let protected = (protected > 0).then_some(protected);
        Self { protected_status_count: protected, warnings: protected.map(keeps).into_iter().collect(), ..self }
    }
}

pub fn preview(action: &'static str, matched_count: i64, reasons: &[(&'static str, i64)]) -> BulkPreview {
    let skipped_count = reasons.iter().map(|(_, count)| count).sum();
    BulkPreview {
        status: "preview",
        action,
        matched_count,
        eligible_count: matched_count - skipped_count,
        skipped_count,
        protected_status_count: None,
        sync_worker_running: None,
        skipped_breakdown: reasons
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| Skipped { reason, count: *count })
            .collect(),
        warnings: vec![],
    }
}

impl From<ForQa> for BulkPreview {
    fn from(counts: ForQa) -> Self {
        let plain = preview(BulkAction::BulkQa.as_str(), counts.matched, &[("qa_running", counts.running)]);
        let keeps = |many: i64| format!("{many} episodes keep their status whatever the checks say, because a person decides about them");
        plain.keeping(counts.protected, keeps)
    }
}

impl BulkPreview {
    fn of_sync(counts: &ForSync, running: bool) -> Self {
        let reasons = [
            ("qa_not_approved", counts.not_approved),
            ("recalled", counts.recalled),
            ("already_synced", counts.synced),
            ("sync_active", counts.active),
        ];
        let warning = (!running).then(|| "sync worker is not running: nothing would be pushed to the cloud".to_owned());
        let action = BulkAction::BulkSync.as_str();
        Self { sync_worker_running: Some(running), warnings: warning.into_iter().collect(), ..preview(action, counts.matched, &reasons) }
    }
}

pub fn counted<T>(counts: Option<T>) -> Result<T, Problem> {
    counts.ok_or_else(|| failed(&anyhow::anyhow!("episodes could not be counted")))
}

/// How many episodes a bulk run of the checks would be about. Changes nothing.
#[utoipa::path(post, path = "/api/v1/data-ops/episodes/bulk-qa/preview", tag = "operation", request_body(content = Option<EpisodesMeant>), responses(
    (status = 200, body = BulkPreview),
    (status = 400, description = "A filter that cannot be"),
))]
pub async fn preview_qa(
    State(state): State<AppState>,
    caller: Caller,
    BulkBody(body): BulkBody<EpisodesMeant>,
) -> Result<Json<BulkPreview>, Problem> {
    Ok(Json(counted(state.reads.counted_for_qa(&caller.scope, &body.selection()?).await?)?.into()))
}

/// How many episodes would be pushed to the cloud. Changes nothing.
#[utoipa::path(post, path = "/api/v1/data-ops/episodes/bulk-sync/preview", tag = "operation", request_body(content = Option<EpisodesMeant>), responses(
    (status = 200, body = BulkPreview),
    (status = 400, description = "A filter that cannot be"),
))]
pub async fn preview_sync(
    State(state): State<AppState>,
    caller: Caller,
    BulkBody(body): BulkBody<EpisodesMeant>,
) -> Result<Json<BulkPreview>, Problem> {
    let counts = counted(state.reads.counted_for_sync(&caller.scope, &body.selection()?).await?)?;
    Ok(Json(BulkPreview::of_sync(&counts, clouds(&state).await.is_ok())))
}

/// A bulk run that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct AcceptedRun {
    /// The run.
    run: BulkRun,
    /// How many episodes it is about.
    message: String,
}

impl AcceptedRun {
    /// `what` its episodes are accepted for.
    pub fn of(run: BulkRun, what: &str) -> Self {
        Self { message: format!("{} episodes accepted for {what}", run.total()), run }
    }
}

/// Accepts a run of this work, of so many episodes as were expected, for `what`.
pub async fn accept(
    state: &AppState,
    caller: &Caller,
    (work, expected): (BulkWork, Option<i64>),
    what: &str,
) -> Result<Made<AcceptedRun>, Problem> {
    let id = state.commands.execute(&caller.context(), AcceptBulkRun { work, expected }).await?;
    let read = async { Ok(AcceptedRun::of(BulkRun::from(shown(state, &caller.scope, &id).await?), what)) };
    Ok(Made::read(StatusCode::ACCEPTED, json!({ "run": { "run_id": id }, "message": format!("accepted for {what}") }), read).await)
}

/// What episodes are accepted for.
const WHAT: &str = "bulk QA";

/// Run the checks over many episodes, while the caller does something else.
#[utoipa::path(post, path = "/api/v1/data-ops/episodes/bulk-qa", tag = "operation", request_body = BulkEpisodes, responses(
    (status = 202, body = AcceptedRun, description = "Accepted, with the episodes that are meant at this moment"),
    (status = 400, description = "A filter that cannot be, or it was not said that it is meant"),
    (status = 409, description = "Such a run goes on already, or there are many more or less episodes than were expected"),
))]
pub async fn run_qa(
    State(state): State<AppState>,
    caller: Caller,
    BulkBody(body): BulkBody<BulkEpisodes>,
) -> Result<Made<AcceptedRun>, Problem> {
    let (selection, expected) = body.confirmed()?;
    accept(&state, &caller, (BulkWork::BulkQa { selection }, expected), WHAT).await
}

/// A bulk run that queues episodes for the cloud.
#[derive(Debug, Serialize, ToSchema)]
pub struct AcceptedSync {
    /// `accepted`.
    status: &'static str,
    /// How many episodes are meant.
    matched_count: i64,
    /// The run.
    run: BulkRun,
    /// How many episodes it is about.
    message: String,
}

/// Push many episodes to the cloud: each is queued as if it were asked for by itself. None is pushed twice.
#[utoipa::path(post, path = "/api/v1/data-ops/episodes/bulk-sync", tag = "operation", request_body = BulkEpisodes, responses(
    (status = 202, body = AcceptedSync, description = "Accepted, with the episodes that are meant at this moment"),
    (status = 409, description = "Such a run goes on already, or there are many more or less episodes than were expected"),
    (status = 400, description = "A filter that cannot be, or it was not said that it is meant"),
    (status = 503, description = "Episodes are not pushed to a cloud"),
))]
pub async fn run_sync(
    State(state): State<AppState>,
    caller: Caller,
    BulkBody(body): BulkBody<BulkEpisodes>,
) -> Result<Made<AcceptedSync>, Problem> {
    let (selection, expected) = body.confirmed()?;
    clouds(&state).await?;
    let work = BulkWork::BulkSync { selection, force: false };
    let id = state.commands.execute(&caller.context(), AcceptBulkRun { work, expected }).await?;
    let read = async {
        let run = BulkRun::from(shown(&state, &caller.scope, &id).await?);
        let matched_count = run.total();
        Ok(AcceptedSync {
            status: "accepted",
            matched_count,
            message: format!("{matched_count} episodes accepted for bulk cloud sync"),
            run,
        })
    };
    Ok(Made::read(StatusCode::ACCEPTED, json!({ "status": "accepted", "run": { "run_id": id } }), read).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse;

    fn body(value: &serde_json::Value) -> Result<BulkEpisodes, Problem> {
        parse(value.to_string().as_bytes())
    }

    #[test]
    fn every_value_of_a_body_is_one_text_and_every_name_is_known() {
        for wrong in [
            json!({"filters": {"qa_status": ["failed"]}}),
            json!({"filters": {"scene_id": 1}}),
            json!({"filters": {"qa_stati": "failed"}}),
            json!({"filters": []}),
            json!({"confirm": "true"}),
            json!({"confirm": true, "expected_count": -1}),
        ] {
            assert!(body(&wrong).is_err(), "{wrong}");
        }
        let fits = body(&json!({"confirm": true, "filters": {"limit": "20", "offset": "x", "scene_id": null, "sop_id": ""}})).unwrap();
        assert!(fits.confirmed().unwrap().0.is_everything(), "pages have no meaning here");
    }

    #[test]
    fn what_is_done_is_confirmed_and_every_episode_is_meant_by_its_word() {
        let confirmed = |value| body(&value).unwrap().confirmed().map(|_| ()).map_err(|problem| problem.detail().to_owned());
        assert_eq!(confirmed(json!({})), Err("confirm must be true".into()));
        assert_eq!(confirmed(json!({"confirm": false})), Err("confirm must be true".into()));
        assert_eq!(confirmed(json!({"confirm": true})), Ok(()), "as in the contract");
        assert_eq!(confirmed(json!({"confirm": true, "all": true})), Ok(()));
        assert!(confirmed(json!({"confirm": true, "all": false})).is_err());
        assert!(confirmed(json!({"confirm": true, "all": true, "filters": {"scene_id": "1"}})).is_err());
        assert_eq!(confirmed(json!({"confirm": true, "all": false, "filters": {"scene_id": "1"}})), Ok(()));
    }

    #[test]
    fn an_episode_is_skipped_for_one_reason_and_warnings_say_what_is_not_plain() {
        let qa = BulkPreview::from(ForQa { matched: 10, running: 2, protected: 3 });
        assert_eq!(
            json!(qa),
            json!({
                "status": "preview", "action": "bulk_qa", "matched_count": 10, "eligible_count": 8, "skipped_count": 2,
                "protected_status_count": 3, "skipped_breakdown": [{"reason": "qa_running", "count": 2}],
                "warnings": ["3 episodes keep their status whatever the checks say, because a person decides about them"],
            })
        );
        let none = json!(BulkPreview::from(ForQa { matched: 0, running: 0, protected: 0 }));
        assert_eq!((&none["skipped_breakdown"], &none["warnings"], none.get("protected_status_count")), (&json!([]), &json!([]), None));
        let counts = ForSync { matched: 10, not_approved: 4, recalled: 0, synced: 1, active: 2 };
        let sync = json!(BulkPreview::of_sync(&counts, false));
        assert_eq!((&sync["eligible_count"], &sync["sync_worker_running"]), (&json!(3), &json!(false)));
        assert_eq!(json!(BulkPreview::of_sync(&counts, true))["warnings"], json!([]));
        let reasons = json!([
            {"reason": "qa_not_approved", "count": 4}, {"reason": "already_synced", "count": 1}, {"reason": "sync_active", "count": 2}
        ]);
        assert_eq!(sync["skipped_breakdown"], reasons);
    }
}
