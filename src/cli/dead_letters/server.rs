//! Dead letters by the routes of a server.

use serde_json::{Value, json};

use super::letters::{Abandoned, Again, Letters};
use crate::cli::remote::{Listed, Query, Remote};
use crate::domain::letter::LetterFilter;
use crate::domain::{LetterId, Timestamp};
use crate::projections::reads::Place as ListPlace;

fn instant(at: Timestamp) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

fn body(again: &Again) -> Value {
    let Again { selection, causation_depth_max, per_second } = again;
    json!({ "selection": selection, "causation_depth_max": causation_depth_max, "per_second": per_second })
}

impl Letters for Remote {
    async fn list(&self, filter: LetterFilter, limit: i64, after: Option<ListPlace>) -> anyhow::Result<Listed> {
        let LetterFilter { subscriber, destination, event_type, stream, from, to, reason, resolution, notification_failed } = filter;
        let query = Query::default().and("subscriber", subscriber).and("destination", destination).and("event_type", event_type);
        let query = query.and("stream", stream).and("from", from.map(instant)).and("to", to.map(instant));
        let query = query.and("reason", reason.map(|word| word.as_str())).and("resolution", resolution.map(|word| word.as_str()));
        let query = query.and("notification_failed", notification_failed);
        self.list_of("/dead-letters", &query, limit, after.map(|after| after.to_string())).await
    }

    async fn show(&self, id: LetterId) -> anyhow::Result<Value> {
        self.get(&format!("/dead-letters/{id}")).await
    }

    async fn counts(&self) -> anyhow::Result<Value> {
        self.get("/dead-letters/counts").await
    }

    async fn replay(&self, id: LetterId, causation_depth_max: Option<i32>) -> anyhow::Result<Value> {
        self.post(&format!("/dead-letters/{id}/replay"), Some(&json!({ "causation_depth_max": causation_depth_max }))).await
    }

    async fn select(&self, filter: LetterFilter, everything: bool) -> anyhow::Result<Value> {
        let LetterFilter { subscriber, destination, event_type, stream, from, to, reason, resolution: _, notification_failed } = filter;
        let meant = json!({
            "subscriber": subscriber, "destination": destination, "event_type": event_type, "stream": stream,
            "from": from.map(instant), "to": to.map(instant), "reason": reason, "notification_failed": notification_failed,
            "everything": everything,
        });
        self.post("/dead-letters/replay/preview", Some(&meant)).await
    }

    async fn replay_selection(&self, again: &Again) -> anyhow::Result<Value> {
        self.post("/dead-letters/replay", Some(&body(again))).await
    }

    async fn accept_run(&self, again: &Again) -> anyhow::Result<Value> {
        self.post("/dead-letters/replay/run", Some(&body(again))).await
    }

    async fn abandoned(&self, of: Abandoned, limit: i64, after: Option<ListPlace>) -> anyhow::Result<Listed> {
        let query = Query::default().and("device_id", of.device).and("asker", of.asker);
        self.list_of("/abandoned-executions", &query, limit, after.map(|after| after.to_string())).await
    }

    async fn resolve(&self, id: LetterId, reason: &str) -> anyhow::Result<()> {
        self.post(&format!("/dead-letters/{id}/resolve"), Some(&json!({ "reason": reason }))).await.map(drop)
    }
}
