//! What a certificate says, for people.

use crate::cli::output::say;
use crate::domain::certificate::Statement;

fn known(text: Option<&String>) -> &str {
    text.map_or("-", String::as_str)
}

pub fn tell(statement: &Statement) -> anyhow::Result<()> {
    let told = &statement.predicate;
    say(&format!("Episode {} ({}), {}", told.episode.id, known(told.episode.public_id.as_ref()), told.approval.status))?;
    say(&format!("  recording   {}", told.recording.object))?;
    say(&format!("              SHA-256 {}, {} bytes", told.recording.sha256, told.recording.size_bytes))?;
    if let Some(sidecar) = &told.sidecar {
        say(&format!("  beside it   {}", sidecar.object))?;
        say(&format!("              SHA-256 {}", known(sidecar.sha256.as_ref())))?;
    }
    let batch = known(told.batch.public_id.as_ref());
    say(&format!(
        "  order {}, batch {} ({batch}), task {} ({})",
        told.order_id,
        told.batch.id,
        told.task.id,
        known(told.task.public_id.as_ref())
    ))?;
    let people = &told.people;
    let by = [("ordered", &people.ordered_by), ("dispatched", &people.dispatched_by), ("recorded", &people.recorded_by)];
    for (what, who) in by {
        say(&format!("  {what:<11} by {}", known(who.as_ref())))?;
    }
    for inspected in &people.inspected_by {
        say(&format!("  inspected   by {}: {} ({}), {}", inspected.inspector, inspected.decision, inspected.effect, inspected.at))?;
    }
    say(&format!("  approved    by {} at {}", known(told.approval.by.as_ref()), known(told.approval.at.as_ref())))?;
    say(&format!("  robot       {}, recorder {}", known(told.robot.device_id.as_ref()), known(told.recorder.version.as_ref())))?;
    say(&format!(
        "  SOP {} {}, scene {}, subscene {}",
        known(told.sop.slug.as_ref()),
        known(told.sop.version.as_ref()),
        told.scene.id,
        told.subscene.id
    ))?;
    if let Some(facts) = &told.facts {
        let seconds = facts.duration_ms as f64 / 1000.0;
        say(&format!("  measured    {} messages of {} topics in {seconds} s", facts.messages, facts.topics))?;
    }
    if let Some(verdict) = &told.verdict {
        let score = verdict.score_milli as f64 / 1000.0;
        say(&format!("  verdict     {} ({score}) by {} {}", verdict.verdict, verdict.suite, verdict.suite_version))?;
    }
    for (is_so, what) in [(told.recalled, "its batch was recalled"), (told.late, "its task had ended before without it")] {
        if is_so {
            say(&format!("  note        {what}"))?;
        }
    }
    if let Some(damage) = &told.damage {
        say(&format!("  note        it is damaged, and wanted all the same: {damage}"))?;
    }
    let left_out = told.log.left_out.as_ref().map_or(0, |left_out| left_out.count);
    let events = told.log.events.len() as u64 + left_out;
    say(&format!("  {events} events, up to position {} of the log, recorded at {}", told.log.position, told.issued_at))
}
