//! Whether each route that shows people, or gives files away, says so.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::Value;

use crate::http::policy::Recorded;
use crate::http::router::tests::operations;
use crate::http::router::{openapi, policies};

/// Fields that tell something of a person, or hold a link.
fn tells(field: &str) -> bool {
    let of_people = ["email", "operator_id", "collector_operator_id", "collector_name", "inspector_name", "phone", "account"];
    of_people.contains(&field) || field == "url" || field.ends_with("_url")
}

/// Routes whose answers have such fields and are not recorded, with the reason.
const NOT_RECORDED: [(&str, &str); 27] = [
    ("POST /api/v1/auth/login", "one's own name"),
    ("GET /api/v1/auth/me", "one's own name"),
    ("POST /api/v1/data_collectors", "what was just written: a change, and an event"),
    ("PUT /api/v1/data_collectors/{id}", "what was just written: a change, and an event"),
    ("POST /api/v1/inspectors", "what was just written: a change, and an event"),
    ("PUT /api/v1/inspectors/{id}", "what was just written: a change, and an event"),
    ("GET /api/v1/admin/statistics/data-production/details", "who did a piece of work, beside it"),
    ("GET /api/v1/batches/{id}/tasks", "who did a piece of work, beside it"),
    ("GET /api/v1/data-ops/episodes", "who did a piece of work, beside it"),
    ("GET /api/v1/episodes", "who did a piece of work, beside it"),
    ("GET /api/v1/episodes/{id}", "who did a piece of work, beside it"),
    ("PATCH /api/v1/episodes/{id}", "who did a piece of work, beside it"),
    ("GET /api/v1/inspection/episodes/{id}/decisions", "who decided, beside the decision"),
    ("GET /api/v1/production/dashboard/snapshot", "who is at which workstation, on the wall of the hall"),
    ("GET /api/v1/production/dashboard/overview", "its links are always empty"),
    ("GET /api/v1/stations", "who is at which workstation"),
    ("POST /api/v1/stations", "who is at which workstation"),
    ("POST /api/v1/stations/lookup", "who is at which workstation"),
    ("GET /api/v1/stations/{id}", "who is at which workstation"),
    ("PUT /api/v1/stations/{id}", "who is at which workstation"),
    ("GET /api/v1/tasks", "who did a piece of work, beside it"),
    ("GET /api/v1/tasks/{id}/config", "links that a recorder posts to"),
    ("POST /api/v1/devices/register", "addresses that a robot connects to"),
    ("POST /api/v1/robots/{id}/ws-client-auth-token/rotate", "addresses that a robot connects to"),
    ("POST /api/v1/episodes/{id}/salvage", "asked for, and not made yet: no link"),
    ("GET /api/v1/episodes/{id}/frames", "one small image of a page that shows the episode"),
    ("GET /api/v1/log/tile/{path}", "hashes, of which nobody learns what an event says"),
];

/// Every field of a schema, through everything that it refers to.
fn fields(description: &Value, schema: &Value, seen: &mut BTreeSet<String>, found: &mut BTreeSet<String>) {
    if !schema.is_object() {
        return;
    }
    if let Some(path) = schema["$ref"].as_str()
        && seen.insert(path.to_owned())
        && let Some(schema) = description.pointer(&path[1..])
    {
        fields(description, schema, seen, found);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(name.clone());
        fields(description, property, seen, found);
    }
    let parts = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|key| schema[key].as_array().into_iter().flatten());
    parts.chain([&schema["items"], &schema["additionalProperties"]]).for_each(|part| fields(description, part, seen, found));
}

/// Whether an answer tells of people, has a link, or is a file.
fn tells_much(description: &Value, operation: &Value) -> bool {
    let good = operation["responses"].as_object().into_iter().flatten().filter(|(status, _)| status.starts_with('2'));
    good.flat_map(|(_, answer)| answer["content"].as_object().into_iter().flatten()).any(|(kind, content)| {
        let mut found = BTreeSet::new();
        fields(description, &content["schema"], &mut BTreeSet::new(), &mut found);
        let file =
            kind.starts_with("text/csv") || ["application/octet-stream", "application/x-ndjson", "image/jpeg"].contains(&kind.as_str());
        file || found.iter().any(|field| tells(field))
    })
}

#[test]
fn what_shows_people_or_gives_files_away_is_recorded_or_has_a_reason() {
    let (description, policies) = (openapi(), policies());
    let mut unsaid = vec![];
    let mut needless: BTreeSet<&str> = NOT_RECORDED.iter().map(|(route, _)| *route).collect();
    for (method, path, operation) in operations() {
        let name = format!("{method} {path}");
        let recorded = policies.of(&method.parse::<Method>().unwrap(), &path).records != Recorded::Nothing;
        let excused = NOT_RECORDED.iter().any(|(route, _)| *route == name);
        if tells_much(&description, &operation) {
            needless.remove(name.as_str());
            assert!(!(recorded && excused), "{name} is recorded, and has a reason not to be");
            if !recorded && !excused {
                unsaid.push(name);
            }
        }
    }
    assert!(
        unsaid.is_empty(),
        "say in their lists what is recorded of them (`of_people`, `download`, `export`), or why nothing is: {unsaid:?}"
    );
    assert!(needless.is_empty(), "these show nobody and give nothing away: {needless:?}");
}

#[test]
fn exports_are_limited_as_exports() {
    use crate::http::policy::Limit;
    let policies = policies();
    for (method, path, _) in operations().into_iter().filter(|(_, path, _)| path.ends_with("/export")) {
        let policy = policies.of(&method.parse::<Method>().unwrap(), &path);
        assert_eq!((policy.limit, policy.records), (Limit::Exports, Recorded::Download), "{method} {path}");
    }
}
