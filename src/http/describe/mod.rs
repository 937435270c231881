//! What holds for every operation, written into the description in one place: how refusals
//! look, which ones any route may answer with, and the header that makes a request repeatable.
//!
//! - [`preferences`]: what may be asked for and looked at later.
//! - [`schemas`]: fields where they stand, and what may be null.
//! - [`parameters`]: names that mean the same on every route.
//! - [`examples`]: a request and an answer of each operation.

mod examples;
mod parameters;
mod preferences;
mod schemas;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::extract::{AFTER, OFFSET};
use super::policy::{Access, Limit, Policy};
use super::routes::{Policies, described_path};

/// Completes the description of the routes.
pub fn complete(mut description: Value, policies: &Policies) -> Value {
    description["components"]["schemas"]["Problem"] = problem();
    schemas::complete(&mut description);
    let Some(paths) = description["paths"].as_object_mut() else { return description };
    *paths = std::mem::take(paths).into_iter().map(|(path, item)| (described_path(&path), item)).collect();
    for (path, item) in paths {
        let Some(operations) = item.as_object_mut() else { continue };
        for (method, operation) in operations {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            operation["operationId"] = operation_id(&method, path).into();
            complete_operation(&method, &policies.of(&method, path), operation);
            if method == Method::POST && policies.of(&method, path).waits_for_device {
                preferences::complete(operation);
            }
            parameters::complete(operation);
            examples::complete(&method, path, operation);
        }
    }
    description
}

/// `get_orders_id` of `GET /api/v1/orders/{id}`: programs that generate clients name their functions so, and two must not be the same.
fn operation_id(method: &Method, path: &str) -> String {
    let words = path.trim_start_matches("/api/v1/").split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.as_str().to_lowercase(), |id, word| id + "_" + word)
}

fn complete_operation(method: &Method, policy: &Policy, operation: &mut Value) {
    if policy.takes_key() {
        let key = json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "The same request with the same key within 24 hours gets the first answer again.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
        });
        match operation["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(key),
            None => operation["parameters"] = json!([key]),
        }
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    if let Some(parameters) = parameters.filter(|all| policy.pages_by_place && all.iter().any(|one| one["name"] == OFFSET)) {
        parameters.push(json!({
            "name": AFTER, "in": "query", "required": false, "schema": {"type": "string"},
            "description": "`next_after` of the page before: begins behind its last row, whatever was added meanwhile, and costs as much \
                            as the first page however far in the list. Instead of `offset`.",
        }));
    }
    let open = matches!(policy.access, Access::Open | Access::Link);
    if open {
        operation["security"] = json!([]);
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let closed = (!open).then_some([("401", "A login is required"), ("403", "The login may not do this")]);
    let keyed = policy.takes_key().then_some(("422", "The Idempotency-Key was used for another request"));
    let any = [("400", "Something in the request does not fit"), ("500", "A fault of ours"), ("503", "The database cannot be reached")];
    let bodied = matches!(*method, Method::POST | Method::PUT | Method::PATCH).then_some(("413", "The body is too large"));
    let limited = (policy.limit != Limit::None).then_some(("429", "Asked too often: `limit` says of what there were too many"));
    for (status, description) in any.into_iter().chain(limited).chain(closed.into_iter().flatten()).chain(keyed).chain(bodied) {
        responses.entry(status).or_insert_with(|| json!({ "description": description }));
    }
    // A range that cannot be served has no body.
    for (_, answer) in responses.iter_mut().filter(|(status, _)| status.starts_with(['4', '5']) && status.as_str() != "416") {
        if answer.get("content").is_none() {
            answer["content"] = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        }
    }
}

fn problem() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let properties = Map::from_iter([
        ("code".to_owned(), text("What is wrong, as a word for programs.")),
        ("detail".to_owned(), text("For people.")),
        ("field".to_owned(), text("The field of the body or the name of the query that is to blame, where there is one.")),
        ("limit".to_owned(), text("Of what there were too many, where a caller asked too often.")),
        ("request_id".to_owned(), text("Names the request in our log.")),
        ("error".to_owned(), text("For people; some routes say `error_msg`.")),
        ("error_msg".to_owned(), text("For people.")),
    ]);
    json!({
        "type": "object", "description": "Why a request was not done. Each code has its own further keys.",
        "required": ["code", "detail", "request_id"], "properties": properties,
        "example": {
            "code": "invalid_request", "detail": "name is required", "error": "name is required", "field": "name",
            "request_id": "99b4f92a-34bf-4c2e-9e3e-553d0c12b2c8",
        },
    })
}
