//! `/dead-letters`: deliveries that were given up, and what people do about them.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, MaybeJson, Params, PathId};
use super::fields::{GivenInstant, ShortText, Text, Whole};
use super::made::Made;
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::tasks::Ending;
use super::wire::{Paged, TextId, WholeSecond};
use super::words::{DeadReasonWord, LetterActWord, ResolutionWord};
use crate::commands::letters::{
    CAUSATION_DEPTH_MAX, PER_SECOND, PER_SECOND_MAX, ReplayLetter, ReplayLetters, Replayed, ReplayedAll, ResolveLetter, SelectLetters,
    Selected, SelectedOfSubscriber,
};
use crate::domain::LetterId;
use crate::domain::bulk_run::BulkWork;
use crate::domain::letter::{LetterFilter, Resolution, SELECTION_BYTES_MAX};
use crate::projections::reads::letters::{LetterAct, LetterShown, LettersOfSubscriber, WholeLetter};

pub fn routes() -> Routes {
    let policy = Policy::ADMINISTER.exact();
    Routes::default()
        .at(policy, routes!(list))
        .at(policy, routes!(counts))
        .at(policy, routes!(get))
        .at(policy.keyed(), routes!(replay))
        .at(policy.keyed(), routes!(resolve))
        .at(policy, routes!(preview))
        .at(policy.keyed(), routes!(replay_selection))
}

/// A delivery that was given up.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetter {
    /// Names it in other requests.
    id: TextId,
    /// Who did not get it.
    subscriber: String,
    /// Where it should have gone, as `recorder:<device>`; null where the subscriber has no destinations.
    #[schema(required)]
    destination: Option<String>,
    /// The stream of the event, as `task/17`.
    stream: String,
    /// The event that was to be delivered.
    #[schema(required)]
    event_id: Option<String>,
    /// What happened.
    #[schema(required)]
    event_type: Option<String>,
    /// Why it was given up.
    #[schema(value_type = DeadReasonWord)]
    reason: &'static str,
    /// What the last attempt said.
    #[schema(required)]
    last_error: Option<String>,
    /// How often it was tried, replays included.
    attempts: i32,
    /// When it was first to be delivered.
    queued_at: WholeSecond,
    /// When it was given up, the last time.
    died_at: WholeSecond,
    /// Whether later deliveries of the stream wait for it.
    holds_stream: bool,
    /// Whether a subscription that wanted to know of its death could not be told.
    notification_failed: bool,
    /// What became of it.
    #[schema(value_type = ResolutionWord)]
    resolution: &'static str,
    /// Since when.
    #[schema(required)]
    resolved_at: Option<WholeSecond>,
    /// What was said when it was resolved without a delivery.
    #[schema(required)]
    resolved_because: Option<String>,
    /// How often it was replayed.
    replays: i64,
}

impl From<LetterShown> for DeadLetter {
    fn from(row: LetterShown) -> Self {
        Self {
            id: TextId(row.id.0),
            event_id: row.event_id(),
            subscriber: row.subscriber,
            destination: row.destination,
            stream: row.stream,
            event_type: row.event_type,
            reason: row.reason.as_str(),
            last_error: row.last_error,
            attempts: row.attempts,
            queued_at: row.queued_at.into(),
            died_at: row.died_at.into(),
            holds_stream: row.blocks_stream && row.resolution == Resolution::Unresolved,
            notification_failed: row.notification_failed,
            resolution: row.resolution.as_str(),
            resolved_at: row.resolved_at.map(WholeSecond),
            resolved_because: row.resolved_because,
            replays: row.replays,
        }
    }
}

/// One try to deliver it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Attempt {
    /// Which one it was, counted from 1 after every replay.
    #[serde(default)]
    #[schema(required)]
    attempt: Option<i64>,
    /// When it failed.
    #[serde(default)]
    #[schema(required)]
    at: Option<WholeSecond>,
    /// Why, with all causes.
    #[serde(default)]
    #[schema(required)]
    error: Option<String>,
}

/// Something that was done about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Act {
    /// The event in the letter's own stream.
    #[schema(value_type = LetterActWord)]
    event_type: String,
    /// When it was done.
    at: WholeSecond,
    /// Who did it.
    #[schema(required)]
    actor: Option<String>,
    /// What the event says.
    #[schema(value_type = Object)]
    content: Value,
}

impl From<LetterAct> for Act {
    fn from(row: LetterAct) -> Self {
        Self { event_type: row.event_type, at: row.at.into(), actor: row.actor, content: row.payload }
    }
}

/// A delivery that was given up, with everything that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterContent {
    #[serde(flatten)]
    letter: DeadLetter,
    /// Whether it was replayed, and is in the outbox now.
    in_flight: bool,
    /// Links of the chain of causes behind the event.
    causation_depth: i32,
    /// Where the event stands in the log; null until it has its position.
    #[schema(required)]
    position: Option<i64>,
    /// When the event was recorded.
    #[schema(required)]
    recorded_at: Option<WholeSecond>,
    /// The event's content, in the shape of today.
    #[schema(value_type = Object)]
    payload: Value,
    /// Who asked for what happened, because of what.
    #[schema(value_type = Object)]
    metadata: Value,
    /// Every attempt that failed, the first one first; also those of a delivery that is under way again.
    tried: Vec<Attempt>,
    /// What was done about it, the first act first.
    acts: Vec<Act>,
}

impl From<WholeLetter> for DeadLetterContent {
    fn from(whole: WholeLetter) -> Self {
        let WholeLetter { letter, in_flight, content, acts } = whole;
        let since = content.failures_since.unwrap_or_default();
        let tried = [content.failures, since].into_iter().flat_map(|failures| match failures {
            Value::Array(failures) => failures,
            _ => vec![],
        });
        let read = |failure| serde_json::from_value(failure).unwrap_or(Attempt { attempt: None, at: None, error: None });
        Self {
            letter: letter.into(),
            in_flight,
            causation_depth: content.causation_depth,
            position: content.position,
            recorded_at: content.recorded_at.map(WholeSecond),
            payload: content.payload.unwrap_or_default(),
            metadata: content.metadata.unwrap_or_default(),
            tried: tried.map(read).collect(),
            acts: acts.into_iter().map(Act::from).collect(),
        }
    }
}

/// Unresolved letters of one subscriber.
#[derive(Debug, Serialize, ToSchema)]
pub struct LetterCount {
    /// Who did not get them.
    subscriber: String,
    /// How many there are.
    unresolved: i64,
    /// When the first of them died.
    oldest: WholeSecond,
    /// When the last of them died.
    newest: WholeSecond,
}

impl From<LettersOfSubscriber> for LetterCount {
    fn from(row: LettersOfSubscriber) -> Self {
        Self { subscriber: row.subscriber, unresolved: row.unresolved, oldest: row.oldest.into(), newest: row.newest.into() }
    }
}

/// Unresolved letters.
#[derive(Debug, Serialize, ToSchema)]
pub struct LetterCounts {
    /// Of all subscribers: the number for a badge.
    unresolved: i64,
    /// Subscribers that have any.
    subscribers: Vec<LetterCount>,
}

impl From<Vec<LettersOfSubscriber>> for LetterCounts {
    fn from(rows: Vec<LettersOfSubscriber>) -> Self {
        let subscribers: Vec<LetterCount> = rows.into_iter().map(LetterCount::from).collect();
        Self { unresolved: subscribers.iter().map(|one| one.unresolved).sum(), subscribers }
    }
}

/// Dead letters, the newest death first.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "operation", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("subscriber" = Option<String>, Query, description = "Only of this subscriber"),
    ("destination" = Option<String>, Query, description = "Only for this destination, as `recorder:<device>`"),
    ("event_type" = Option<String>, Query, description = "Only of events of this type"),
    ("stream" = Option<String>, Query, description = "Only of events of this stream, as `task/17`"),
    ("from" = Option<String>, Query, description = "Only those that died at this time or later, as RFC 3339"),
    ("to" = Option<String>, Query, description = "Only those that died before this time, as RFC 3339"),
    ("reason" = Option<DeadReasonWord>, Query, description = "Only those that were given up for this reason"),
    ("resolution" = Option<ResolutionWord>, Query, description = "Only those of which this became"),
    ("notification_failed" = Option<bool>, Query, description = "Only those of whose death a subscription could not be told, or only the others"),
), responses((status = 200, body = Paged<DeadLetter>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<Paged<DeadLetter>>, Problem> {
    let page = params.page_to_100()?;
    let filter = LetterFilter {
        subscriber: params.text("subscriber"),
        destination: params.text("destination"),
        event_type: params.text("event_type"),
        stream: params.text("stream"),
        from: params.instant("from")?,
        to: params.instant("to")?,
        reason: params.word("reason")?,
        resolution: params.word("resolution")?,
        notification_failed: params.strict_bool("notification_failed")?,
    };
    Ok(Json(Paged::new(state.reads.letters(&filter, page).await?, &page)))
}

/// How many letters are unresolved, and whose.
#[utoipa::path(get, path = "/api/v1/dead-letters/counts", tag = "operation", responses((status = 200, body = LetterCounts)))]
pub async fn counts(State(state): State<AppState>) -> Result<Json<LetterCounts>, Problem> {
    Ok(Json(state.reads.letter_counts().await?.into()))
}

fn no_letter() -> Problem {
    Problem::not_found("dead letter")
}

/// A dead letter with the content of its event, every attempt, and what was done about it.
#[utoipa::path(get, path = "/api/v1/dead-letters/{id}", tag = "operation", params(("id" = i64, Path)), responses(
    (status = 200, body = DeadLetterContent),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, id: PathId) -> Result<Json<DeadLetterContent>, Problem> {
    let whole = state.reads.whole_letter(LetterId(id.positive()?)).await?.ok_or_else(no_letter)?;
    Ok(Json(whole.into()))
}

/// No chain of causes is longer by intent.
type DepthMax = Whole<1, CAUSATION_DEPTH_MAX>;
type PerSecond = Whole<1, PER_SECOND_MAX>;

fn depth(given: Option<DepthMax>) -> Option<i32> {
    given.and_then(|max| i32::try_from(max.0).ok())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayOfOne {
    /// How long its chain of causes may be, this time: needed where it was given up because it was too long.
    causation_depth_max: Option<DepthMax>,
}

/// A delivery that is in the outbox again.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayOutcome {
    /// The letter.
    id: TextId,
    /// The event that is delivered, with its old id, causation and depth.
    event_id: String,
    /// Who gets it.
    subscriber: String,
    /// Where it goes.
    #[schema(required)]
    destination: Option<String>,
    /// Later events of the same stream that went to the same subscriber and destination already: it is too late for their order. Of
    /// the hundred events that follow.
    delivered_later: Vec<String>,
}

impl ReplayOutcome {
    pub fn of(id: LetterId, replayed: Replayed) -> Self {
        let Replayed { event_id, subscriber, destination, delivered_later } = replayed;
        Self { id: TextId(id.0), event_id, subscriber, destination, delivered_later }
    }
}

/// Replay a dead letter: deliver its event again, as it was.
#[utoipa::path(post, path = "/api/v1/dead-letters/{id}/replay", tag = "operation", params(("id" = i64, Path)),
    request_body = Option<ReplayOfOne>, responses(
    (status = 200, body = ReplayOutcome),
    (status = 404, description = "There is none"),
    (status = 409, description = "It was resolved, delivered, or is under way; or its chain of causes is longer than is allowed"),
))]
pub async fn replay(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    MaybeJson(body): MaybeJson<ReplayOfOne>,
) -> Result<Json<ReplayOutcome>, Problem> {
    let id = LetterId(id.positive()?);
    let command = ReplayLetter { id, causation_depth_max: depth(body.causation_depth_max) };
    Ok(Json(ReplayOutcome::of(id, state.commands.execute(&caller.context(), command).await?)))
}

/// Resolve a dead letter without a delivery.
#[utoipa::path(post, path = "/api/v1/dead-letters/{id}/resolve", tag = "operation", params(("id" = i64, Path)), request_body = Ending, responses(
    (status = 200, body = DeadLetter),
    (status = 400, description = "No reason, or one that is too long"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It was resolved, delivered, or is under way"),
))]
pub async fn resolve(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(ending): Json<Ending>,
) -> Result<Made<DeadLetter>, Problem> {
    let id = LetterId(id.positive()?);
    state.commands.execute(&caller.context(), ResolveLetter { id, reason: ending.reason() }).await?;
    let read = async { state.reads.letter(id).await?.map(DeadLetter::from).ok_or_else(no_letter) };
    Ok(Made::read(StatusCode::OK, json!({ "id": id.0.to_string(), "resolution": Resolution::Resolved.as_str() }), read).await)
}

/// Unresolved letters, as the list filters them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LettersMeant {
    /// Only of this subscriber.
    subscriber: Option<ShortText>,
    /// Only for this destination.
    destination: Option<ShortText>,
    /// Only of events of this type.
    event_type: Option<ShortText>,
    /// Only of events of this stream.
    stream: Option<ShortText>,
    /// Only those that died at this time or later.
    from: Option<GivenInstant>,
    /// Only those that died before this time.
    to: Option<GivenInstant>,
    /// Only those that were given up for this reason.
    reason: Option<DeadReasonWord>,
    /// Only those of whose death a subscription could not be told, or only the others.
    notification_failed: Option<bool>,
    /// True where every letter is meant: needed where nothing else is said.
    everything: Option<bool>,
}

impl From<LettersMeant> for SelectLetters {
    fn from(meant: LettersMeant) -> Self {
        let filter = LetterFilter {
            subscriber: ShortText::said(meant.subscriber),
            destination: ShortText::said(meant.destination),
            event_type: ShortText::said(meant.event_type),
            stream: ShortText::said(meant.stream),
            from: meant.from.map(|at| at.0),
            to: meant.to.map(|at| at.0),
            reason: meant.reason.map(|word| word.0),
            resolution: None,
            notification_failed: meant.notification_failed,
        };
        Self { filter, everything: meant.everything.unwrap_or_default() }
    }
}

/// Selected letters of one subscriber.
#[derive(Debug, Serialize, ToSchema)]
pub struct SelectedCount {
    /// Who did not get them.
    subscriber: String,
    /// How many there are.
    count: i64,
    /// Of these, letters whose chains of causes were too long: they are replayed with a `causation_depth_max` only.
    too_deep: i64,
    /// The longest of these chains.
    #[schema(required)]
    deepest: Option<i32>,
}

impl From<SelectedOfSubscriber> for SelectedCount {
    fn from(one: SelectedOfSubscriber) -> Self {
        let too_deep = one.letters - one.replayable;
        Self { subscriber: one.subscriber, count: one.letters, too_deep, deepest: one.deepest }
    }
}

/// What a replay would take.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayPreview {
    /// For the replay: these letters, as of now. Those that die from now on are not among them.
    selection: String,
    /// How many there are.
    count: i64,
    /// By subscriber.
    subscribers: Vec<SelectedCount>,
}

impl From<Selected> for ReplayPreview {
    fn from(selected: Selected) -> Self {
        let Selected { selection, by_subscriber } = selected;
        let count = by_subscriber.iter().map(|one| one.letters).sum();
        Self { selection, count, subscribers: by_subscriber.into_iter().map(SelectedCount::from).collect() }
    }
}

/// Which dead letters a replay would take, and how many. Changes nothing.
#[utoipa::path(post, path = "/api/v1/dead-letters/replay/preview", tag = "operation", request_body = LettersMeant, responses(
    (status = 200, body = ReplayPreview),
    (status = 400, description = "A filter that cannot be, or none, without the word that everything is meant"),
))]
pub async fn preview(
    State(state): State<AppState>,
    caller: Caller,
    Json(meant): Json<LettersMeant>,
) -> Result<Json<ReplayPreview>, Problem> {
    Ok(Json(state.commands.execute(&caller.context(), SelectLetters::from(meant)).await?.into()))
}

type GivenSelection = Text<SELECTION_BYTES_MAX>;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayOfSelection {
    /// As the preview named it.
    selection: GivenSelection,
    /// How long chains of causes may be, this time; without, letters whose chains were too long are left.
    causation_depth_max: Option<DepthMax>,
    /// How many letters become due in each second; default 100.
    per_second: Option<PerSecond>,
}

impl ReplayOfSelection {
    fn per_second(&self) -> u32 {
        self.per_second.and_then(|given| u32::try_from(given.0).ok()).unwrap_or(PER_SECOND)
    }

    /// The same as a bulk run.
    pub fn as_a_run(self) -> BulkWork {
        let per_second = self.per_second();
        BulkWork::ReplayDeadLetters { selection: self.selection.0, causation_depth_max: depth(self.causation_depth_max), per_second }
    }
}

/// What a replay took.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayCounts {
    /// Letters that are in the outbox again: a thousand at most, the oldest ones.
    replayed: i64,
    /// Of these, letters of which later events of the same stream went to the same subscriber and destination already; of the ten
    /// events that follow each.
    delivered_later: i64,
    /// Letters of the selection that are left because their chains of causes are too long.
    too_deep: i64,
    /// Other letters of the selection: further requests with the same selection take them.
    left: i64,
}

impl From<ReplayedAll> for ReplayCounts {
    fn from(all: ReplayedAll) -> Self {
        let ReplayedAll { replayed, delivered_later, too_deep, left } = all;
        Self { replayed, delivered_later, too_deep, left }
    }
}

/// Replay the dead letters of a preview: a thousand at most; where more are left, ask again with the same selection.
#[utoipa::path(post, path = "/api/v1/dead-letters/replay", tag = "operation", request_body = ReplayOfSelection, responses(
    (status = 200, body = ReplayCounts),
    (status = 400, description = "Not the selection of a preview"),
))]
pub async fn replay_selection(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<ReplayOfSelection>,
) -> Result<Json<ReplayCounts>, Problem> {
    let per_second = body.per_second();
    let command = ReplayLetters { selection: body.selection.0, causation_depth_max: depth(body.causation_depth_max), per_second };
    Ok(Json(state.commands.execute(&caller.context(), command).await?.into()))
}
