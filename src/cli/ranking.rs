//! `keystone ranking` and `keystone drift`: where to look first, on the database and at a server.

use anyhow::ensure;
use clap::value_parser;
use serde_json::{Value, json};

use super::output::{number, say, say_json, text};
use super::place::Place;
use super::references::instant;
use super::remote::Query;
use crate::domain::{RobotTypeId, Scope, SopId, StationId, Timestamp};
use crate::http::ranking::{EpisodeRanking, ShiftDrift};
use crate::projections::reads::Reads;
use crate::qa::compared::{ToFollow, ToRank, ranking, shift_drift};

#[derive(clap::Args)]
pub struct RankingOptions {
    /// Episodes of this SOP
    #[arg(long, value_parser = value_parser!(i64).range(1..))]
    sop: i64,
    /// Only recorded at this workstation
    #[arg(long, value_parser = value_parser!(i64).range(1..))]
    station: Option<i64>,
    /// Only by robots of this type
    #[arg(long, value_parser = value_parser!(i64).range(1..))]
    robot_type: Option<i64>,
    /// Only verified from then on
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only verified until then
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Compare them with each other, also where there is a reference
    #[arg(long)]
    among_themselves: bool,
    /// How many to look at
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u16).range(1..=100))]
    limit: u16,
    /// The whole answer
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct DriftOptions {
    /// Of this workstation
    #[arg(long, value_parser = value_parser!(i64).range(1..))]
    station: i64,
    /// Of this SOP [default: that of most episodes of the shift]
    #[arg(long, value_parser = value_parser!(i64).range(1..))]
    sop: Option<i64>,
    /// The shift begins with the first episode from then on [default: the last shift]
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// How long it is
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u32).range(1..=24))]
    hours: u32,
    /// The whole answer
    #[arg(long)]
    json: bool,
}

pub async fn rank(place: &Place, options: RankingOptions) -> anyhow::Result<()> {
    let o = &options;
    ensure!(o.from.zip(o.to).is_none_or(|(from, to)| from <= to), "--to must not be before --from");
    let answer = match place {
        Place::Database(database) => {
            let of = ToRank {
                sop: SopId(o.sop),
                station: o.station.map(StationId),
                robot_type: o.robot_type.map(RobotTypeId),
                from: o.from,
                to: o.to,
                among_themselves: o.among_themselves,
                limit: usize::from(o.limit),
            };
            json!(EpisodeRanking::from(ranking(&Reads::new(database.pool.clone()), &Scope::Everything, of).await?))
        }
        Place::Server(server) => {
            let against = o.among_themselves.then_some("selection");
            let query = Query::default().with("sop_id", o.sop).and("workstation_id", o.station).and("robot_type_id", o.robot_type);
            let query = query.and("from", instant(o.from)).and("to", instant(o.to)).and("against", against).with("limit", o.limit);
            server.get(&query.after("/qa/ranking")).await?
        }
    };
    if options.json { say_json(&answer) } else { tell_ranking(&answer) }
}

pub async fn drift(place: &Place, options: DriftOptions) -> anyhow::Result<()> {
    let o = &options;
    let answer = match place {
        Place::Database(database) => {
            let station = StationId(o.station);
            let of = ToFollow { station, sop: o.sop.map(SopId), from: o.from, hours: o.hours };
            json!(ShiftDrift::of(station, shift_drift(&Reads::new(database.pool.clone()), &Scope::Everything, of).await?))
        }
        Place::Server(server) => {
            let query = Query::default().with("workstation_id", o.station).and("sop_id", o.sop);
            server.get(&query.and("from", instant(o.from)).with("hours", o.hours).after("/qa/drift")).await?
        }
    };
    if options.json { say_json(&answer) } else { tell_drift(&answer) }
}

fn list<'a>(answer: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    answer[key].as_array().into_iter().flatten()
}

fn tell_ranking(answer: &Value) -> anyhow::Result<()> {
    let against = match (answer["against"].as_str(), answer["reference_id"].as_i64()) {
        (_, Some(id)) => format!("with reference {id}"),
        (Some(_), None) => "with each other".to_owned(),
        (None, None) => "with nothing: they are too few, and there is no reference".to_owned(),
    };
    let looked_at = number(&answer["looked_at_count"]);
    say(&format!("{looked_at} of {} episodes compared {against}", number(&answer["total"])))?;
    tell_left_out(answer)?;
    for episode in list(answer, "episodes") {
        say(&format!(
            "{:>8}  {:>8.2}  {:<18}  {}",
            number(&episode["id"]),
            episode["distance"].as_f64().unwrap_or_default(),
            text(&episode["qa_status"]),
            text(&episode["episode_id"])
        ))?;
        list(episode, "reasons").try_for_each(tell_figure)?;
    }
    Ok(())
}

fn tell_left_out(answer: &Value) -> anyhow::Result<()> {
    match number(&answer["without_facts_count"]) {
        0 => Ok(()),
        without => say(&format!("{without} were not measured, and are not compared")),
    }
}

fn tell_figure(figure: &Value) -> anyhow::Result<()> {
    say(&format!("          {:>+8.2}  {}", figure["z"].as_f64().unwrap_or_default(), text(&figure["text"])))
}

fn tell_drift(answer: &Value) -> anyhow::Result<()> {
    let (begins, ends) = (text(&answer["begins_at"]), text(&answer["ends_at"]));
    if begins.is_empty() {
        return say("there is no shift with episodes that were measured");
    }
    let looked_at = number(&answer["looked_at_count"]);
    say(&format!("{looked_at} episodes of SOP {} from {begins} to {ends}", text(&answer["sop_id"])))?;
    tell_left_out(answer)?;
    if answer["enough"] != true {
        return say("too few to compare the last quarter with the first: sixteen are needed");
    }
    if list(answer, "changes").next().is_none() {
        return say("the last quarter is as the first");
    }
    list(answer, "changes").try_for_each(tell_figure)
}
