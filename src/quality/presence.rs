//! What has to be there: topics, schemas, times, what the sidecar says.

use super::case::{Case, Outcome, is_wanted, millis, seconds};
use crate::domain::judgement::WantedTopic;
use crate::domain::measurement::{Kind, SidecarFacts, SidecarSays, Tier};

pub fn not_empty(case: &Case) -> Outcome {
    match case.facts.message_count {
        0 if damaged_before_counting(case) || case.may_have_more() => Outcome::not_applicable("nothing was counted"),
        0 => Outcome::fail("the recording has no message"),
        count => Outcome::pass(format!("{count} messages")),
    }
}

/// Where nothing could be read, nothing is said of what is missing in it.
fn damaged_before_counting(case: &Case) -> bool {
    case.facts.topics.is_empty() && (!case.facts.findings.is_empty() || !case.facts.not_measured.is_empty())
}

pub fn required_topics(case: &Case) -> Outcome {
    if case.wants.topics.is_empty() {
        return Outcome::not_applicable("the task names no topics");
    }
    if damaged_before_counting(case) {
        return Outcome::not_applicable("nothing was counted");
    }
    let least = |kind| if kind == Kind::Joints { case.limit("joints_min") } else { case.limit("messages_min") };
    let there =
        |wanted: &&WantedTopic| case.counted().any(|topic| is_wanted(wanted, &topic.topic) && topic.count as f64 >= least(topic.kind()));
    let missing: Vec<&str> = case.wants.topics.iter().filter(|wanted| !there(wanted)).map(|wanted| wanted.topic.as_str()).collect();
    if missing.is_empty() {
        return Outcome::pass(format!("all {} topics are there", case.wants.topics.len()));
    }
    if case.may_have_more() {
        return Outcome::not_applicable(format!("not every message was counted; not seen, or in few messages: {}", missing.join(", ")));
    }
    Outcome::fail(format!("missing, or with too few messages: {}", missing.join(", "))).with("missing", missing)
}

const SCHEMA_ENCODINGS: [&str; 6] = ["ros1msg", "ros2msg", "ros2idl", "protobuf", "flatbuffer", "jsonschema"];

pub fn schemas(case: &Case) -> Outcome {
    let each = case.counted().map(|topic| {
        let name = &topic.topic;
        // The name of a type says enough: recorders that do not know its text leave it empty, and always will.
        let named_only = topic.schema_bytes == 0 && !topic.message_type.is_empty();
        if topic.schema_encoding.is_empty() && topic.message_type.is_empty() {
            Outcome::warn(0.0, format!("`{name}` has no schema"))
        } else if named_only {
            Outcome::pass("each topic has a schema or the name of its type")
        } else if topic.schema_bytes == 0 {
            Outcome::warn(0.0, format!("the schema of `{name}` is empty and has no name"))
        } else if !SCHEMA_ENCODINGS.contains(&topic.schema_encoding.as_str()) {
            Outcome::warn(0.0, format!("the schema of `{name}` is written in `{}`", topic.schema_encoding))
        } else {
            Outcome::pass("each topic has a schema or the name of its type")
        }
    });
    Outcome::worst(each, "no topic was counted")
}

pub fn metadata(case: &Case) -> Outcome {
    let (facts, wanted) = (case.facts, &case.wants.metadata);
    if wanted.is_empty() {
        return Outcome::not_applicable("the task asks for no metadata");
    }
    let lists = [&facts.metadata, &facts.metadata_keys, &facts.attachments];
    let missing: Vec<&str> =
        wanted.iter().map(String::as_str).filter(|name| lists.iter().all(|list| list.items.iter().all(|there| there != name))).collect();
    if missing.is_empty() {
        return Outcome::pass(format!("all {} metadata and attachments are there", wanted.len()));
    }
    if !case.read_to(Tier::Whole) || lists.iter().any(|list| list.cut > 0) {
        return Outcome::not_applicable("not every metadata and attachment is known");
    }
    Outcome::warn(1.0 - missing.len() as f64 / wanted.len() as f64, format!("missing: {}", missing.join(", "))).with("missing", missing)
}

/// 2020-01-01T00:00:00Z.
const EARLIEST_NS: u64 = 1_577_836_800_000_000_000;

pub fn time_sane(case: &Case) -> Outcome {
    let facts = case.facts;
    if facts.message_count == 0 {
        return Outcome::not_applicable("there is no message");
    }
    let zero: u64 = case.counted().filter_map(|topic| topic.timing.as_ref()).map(|timing| timing.zero).sum();
    let hours = seconds(facts.duration_ns()) / 3600.0;
    let latest = case.wants.received_at_ns.map(|at| at.saturating_add((case.limit("ahead_s") * 1e9) as u64));
    let (start, end) = (facts.start_ns, facts.end_ns);
    let outcome = if start < EARLIEST_NS {
        Outcome::fail(format!("its first message is of {start} ns since 1970, before the year 2020"))
    } else if zero > 0 {
        Outcome::fail(format!("{zero} messages have the time 0"))
    } else if start > end {
        Outcome::fail("it ends before it begins")
    } else if latest.is_some_and(|latest| end > latest) {
        Outcome::fail("its last message is of a time after its arrival")
    } else if hours > case.limit("hours_max") {
        Outcome::fail(format!("it goes over {hours:.1} hours"))
    } else {
        Outcome::pass("times are those of a recording")
    };
    outcome.with("start_ns", start).with("end_ns", end)
}

pub fn duration(case: &Case) -> Outcome {
    if case.facts.message_count == 0 {
        return Outcome::not_applicable("there is no message");
    }
    let took = seconds(case.facts.duration_ns());
    let (least, most) = case.wants.duration_s.unwrap_or((case.limit("min_s"), case.limit("max_s")));
    let outcome = if took < least {
        Outcome::fail(format!("{took:.3} s, at least {least} s are wanted"))
    } else if took > most {
        Outcome::fail(format!("{took:.3} s, at most {most} s are wanted"))
    } else {
        Outcome::pass(format!("{took:.3} s"))
    };
    outcome.with("duration_s", took).with("min_s", least).with("max_s", most)
}

pub fn coverage(case: &Case) -> Outcome {
    let facts = case.facts;
    let each = case.regular().filter_map(|topic| {
        let timing = topic.facts.timing.as_ref()?;
        let (late, early) = (timing.first_ns.saturating_sub(facts.start_ns), facts.end_ns.saturating_sub(timing.last_ns));
        let worst = millis(late.max(early));
        let text =
            format!("`{}` begins {:.3} s after the recording and ends {:.3} s before it", topic.facts.topic, seconds(late), seconds(early));
        Some(Outcome::at_most(worst, case.limit("pass_ms"), case.limit("fail_ms"), text).with("worst_ms", worst))
    });
    Outcome::worst(each, "no sensor or wanted topic with times")
}

fn sidecar<'a>(case: &Case<'a>) -> Option<&'a SidecarSays> {
    match &case.facts.sidecar {
        Some(SidecarFacts::Read(says)) => Some(says),
        _ => None,
    }
}

pub fn sidecar_agrees(case: &Case) -> Outcome {
    let facts = case.facts;
    let Some(says) = sidecar(case) else { return Outcome::not_applicable("there is no sidecar to compare") };
    if facts.message_count == 0 && says.message_count <= 0 {
        return Outcome::not_applicable("there is no message");
    }
    let mut differences = vec![];
    if u64::try_from(says.message_count) != Ok(facts.message_count) {
        differences.push(format!("it counts {} messages, the file has {}", says.message_count, facts.message_count));
    }
    for topic in &says.topics.items {
        let there: u64 = case.counted().filter(|known| known.topic == topic.topic).map(|known| known.count).sum();
        if topic.message_count.is_some_and(|said| said != there) || there == 0 {
            let said = topic.message_count.map_or("some".to_owned(), |count| count.to_string());
            differences.push(format!("it counts {said} messages of `{}`, the file has {there}", topic.topic));
        }
    }
    if says.topics.cut == 0 && facts.topics.cut == 0 && !says.topics.is_empty() {
        for topic in case.counted().filter(|known| says.topics.items.iter().all(|said| said.topic != known.topic)) {
            differences.push(format!("it does not know `{}`", topic.topic));
        }
    }
    if let Some(said_ms) = says.duration_ms.filter(|_| facts.message_count > 0) {
        let (said, is) = (said_ms as f64 / 1e3, seconds(facts.duration_ns()));
        let tolerance = (said * case.limit("duration_share")).max(case.limit("duration_s"));
        // A recorder counts from its start to its stop, also while no message comes.
        let silence = tolerance.max(case.limit("silence_s"));
        if is - said > tolerance || said - is > silence {
            differences.push(format!("it says {said:.3} s, messages go over {is:.3} s"));
        }
    }
    match differences.as_slice() {
        [] => Outcome::pass("the sidecar says what the file says"),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more differences)", rest.len()) };
            Outcome::warn(0.0, format!("of the sidecar: {first}{more}")).with("differences", differences.len())
        }
    }
}

pub fn writer_health(case: &Case) -> Outcome {
    match sidecar(case) {
        None => Outcome::not_applicable("there is no sidecar to ask"),
        Some(says) if says.writer_state.is_none() && says.writer_trouble.is_empty() => {
            Outcome::not_applicable("the recorder says nothing of it")
        }
        Some(says) => {
            let state = says.writer_state.as_deref().unwrap_or("normal");
            if state == "normal" && says.writer_trouble.is_empty() {
                Outcome::pass("the recorder wrote without trouble")
            } else {
                Outcome::warn(0.0, format!("the recorder says `{state}`: {}", says.writer_trouble.items.join(", ")))
            }
        }
    }
}

pub fn zero_size(case: &Case) -> Outcome {
    if !case.read_to(Tier::Whole) {
        return Outcome::not_applicable("messages were not read");
    }
    let each = case.counted().map(|topic| match topic.empty {
        0 => Outcome::pass("no message is empty"),
        empty => Outcome::warn(1.0 - empty as f64 / topic.count as f64, format!("{empty} messages of `{}` are empty", topic.topic)),
    });
    Outcome::worst(each, "no topic was counted")
}
