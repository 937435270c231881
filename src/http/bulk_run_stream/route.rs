//! One watcher of a bulk run, from the present state to the end of the run.

use std::collections::VecDeque;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::watch;
use utoipa_axum::routes;

use crate::http::AppState;
use crate::http::bulk_runs::{self, BulkRun};
use crate::http::extract::PathText;
use crate::http::opening::Opening;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::WholeSecond;
use crate::projections::reads::bulk_runs::BulkRunShown;
use crate::streams::{Kind, frame};

pub fn routes() -> Routes {
    Routes::default().at(bulk_runs::POLICY, routes!(stream))
}

/// One event of the stream, as its watchers find it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a description; events are written as text")]
struct BulkRunStreamEvent {
    /// `bulk_run_snapshot`, `bulk_run_progress`, `bulk_run_completed`, `bulk_run_canceled`, `bulk_run_failed` or `ping`.
    event: String,
    /// JSON: the run; of `ping`, the time as `ts`.
    data: String,
}

struct Watcher {
    run: watch::Receiver<BulkRunShown>,
    ready: VecDeque<Bytes>,
    /// What the last event said: how many were worked on, and whether it is to be cancelled.
    told: (i64, bool),
    over: bool,
}

impl Watcher {
    fn new(mut run: watch::Receiver<BulkRunShown>) -> Self {
        let first = run.borrow_and_update().clone();
        let mut watcher = Self { run, ready: VecDeque::new(), told: (0, false), over: false };
        watcher.tell("bulk_run_snapshot", &first);
        watcher.tell_end(&first);
        watcher
    }

    fn tell(&mut self, name: &str, run: &BulkRunShown) {
        self.told = (run.tally().processed(), run.own.cancel_requested);
        self.ready.push_back(frame::event(name, &json!(BulkRun::from(run.clone())).to_string(), None));
    }

    fn tell_end(&mut self, run: &BulkRunShown) {
        if let Some(end) = run.own.ended {
            self.tell(&format!("bulk_run_{}", end.as_str()), run);
            self.over = true;
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.over {
                return None;
            }
            self.run.changed().await.ok()?;
            let run = self.run.borrow_and_update().clone();
            // That a process has begun with it is no result.
            if run.own.ended.is_none() && self.told != (run.tally().processed(), run.own.cancel_requested) {
                self.tell("bulk_run_progress", &run);
            }
            self.tell_end(&run);
        }
    }

    fn frames(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut watcher| async move {
            let frame = watcher.next().await?;
            Some((frame, watcher))
        })
    }
}

/// How far a bulk run is: first as it is now, then as it goes on, until it has ended.
#[utoipa::path(get, path = "/api/v1/data-ops/bulk-runs/{run_id}/stream", tag = "operation", params(
    ("run_id" = String, Path, description = "The id of the run"),
), responses(
    (status = 200, content_type = "text/event-stream", body = BulkRunStreamEvent,
     description = "The run with each event, and a `ping` every 15 seconds"),
    (status = 404, description = "There is none"),
    (status = 429, description = "The caller follows too many streams"),
    (status = 503, description = "Too many streams"),
))]
pub async fn stream(State(state): State<AppState>, opening: Opening, PathText(id): PathText) -> Result<Response, Problem> {
    let seat = opening.seat(Kind::BulkRun)?;
    let run = bulk_runs::shown(&state, &opening.caller.scope, &id).await?;
    let watcher = Watcher::new(state.live.runs.watch(&id, run));
    let commands = state.commands.clone();
    let ping = move || frame::event("ping", &json!({ "ts": WholeSecond(commands.now()) }).to_string(), None);
    Ok(opening.answer(seat, watcher.frames(), ping))
}
