//! What is to be said about the work: processes, positions, deliveries, dead letters.

use super::report::Finding;
use super::robots;
use crate::outbox::standing::{Dead, Waiting};
use crate::projections::reads::site::{LOG_LAG_MAX_S, Processes};

/// A free delivery is taken within the poll interval; full workers take longer.
const OVERDUE_WARN_S: f64 = 60.0;
const OVERDUE_MAX_S: f64 = 600.0;

#[derive(Clone, Debug)]
pub struct Work {
    pub processes: Processes,
    pub lag_s: f64,
    /// Which process leads the log, and gives positions.
    pub leader: Option<String>,
    pub waiting: Vec<Waiting>,
    pub dead: Vec<Dead>,
    pub robots: robots::Seen,
}

pub fn judge(work: &Work, shared_key: robots::SharedKey) -> Vec<Finding> {
    let mut findings = vec![processes(&work.processes), positions(work), deliveries(&work.waiting, work.processes.alive)];
    findings.push(dead_letters(&work.dead));
    findings.extend(robots::judge(&work.robots, shared_key));
    findings
}

fn processes(seen: &Processes) -> Finding {
    let id = "work.processes";
    let text = format!("{} process(es) alive", seen.alive);
    match seen {
        Processes { alive: 0, silent: 0 } => Finding::ok(id, "no process serves"),
        Processes { alive: 0, silent } => Finding::warning(
            id,
            format!("no process serves, and {silent} ended without a word: their devices count as connected"),
            "start one (keystone serve); it closes what they left",
        ),
        _ => Finding::ok(id, text),
    }
}

fn positions(work: &Work) -> Finding {
    let id = "work.log";
    let todo =
        "look for `Leads the log` and `The sequencer` in the logs of all processes; streams, statistics and audit stand still meanwhile";
    let late = work.lag_s > LOG_LAG_MAX_S;
    let seen = if late {
        format!("events have been without a position for {:.0} s", work.lag_s)
    } else {
        "every event has its position".to_owned()
    };
    match (&work.leader, work.processes.alive) {
        (Some(leader), _) if late => Finding::problem(id, format!("{seen}, though the process `{leader}` leads the log"), todo),
        (Some(leader), _) => Finding::ok(id, format!("{seen}; the process `{leader}` leads the log")),
        (None, 0) if late => Finding::ok(id, format!("{seen}; the next process gives them theirs")),
        (None, 0) => Finding::ok(id, seen),
        (None, _) if late => Finding::problem(id, format!("{seen}: no process leads the log"), todo),
        (None, _) => Finding::warning(id, format!("{seen}, and no process leads the log at this moment"), todo),
    }
}

fn deliveries(waiting: &[Waiting], alive: i64) -> Finding {
    let id = "work.outbox";
    let oldest = waiting.iter().max_by(|a, b| a.overdue_s.total_cmp(&b.overdue_s)).filter(|oldest| oldest.overdue > 0);
    let rows: i64 = waiting.iter().map(|waiting| waiting.rows).sum();
    match oldest {
        Some(oldest) if oldest.overdue_s > OVERDUE_WARN_S => {
            let seen = format!("{} deliveries to {} are due, the oldest for {:.0} s", oldest.overdue, oldest.subscriber, oldest.overdue_s);
            if alive == 0 {
                return Finding::ok(id, format!("{seen}; they wait for a process"));
            }
            let todo = "look at keystone_outbox_settled_total and the log: a destination that is down, workers that are full, or a dead letter that blocks its stream";
            if oldest.overdue_s > OVERDUE_MAX_S { Finding::problem(id, seen, todo) } else { Finding::warning(id, seen, todo) }
        }
        _ => Finding::ok(id, format!("{rows} deliveries wait, none for long that could be made")),
    }
}

fn dead_letters(dead: &[Dead]) -> Finding {
    let id = "work.dead_letters";
    if dead.is_empty() {
        return Finding::ok(id, "no delivery was given up");
    }
    let each: Vec<_> = dead
        .iter()
        .map(|dead| format!("{} to {}, the newest {:.0} min old", dead.letters, dead.subscriber, dead.newest_s / 60.0))
        .collect();
    let seen = format!("deliveries that were given up: {}", each.join("; "));
    Finding::warning(id, seen, "look at their errors, then replay or resolve them (docs/operations.md, Dead letters)")
}
