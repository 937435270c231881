//! Examples: a request and an answer of each operation. They belong together: sent to a fresh server one after the other
//! they are all accepted, with these answers. A test does so, and writes the answers (`tests/it/description.rs`).

use std::sync::LazyLock;

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One request, and what it was answered.
#[derive(Debug, Deserialize)]
pub struct Example {
    /// Method and path, as described.
    operation: String,
    /// What stands in the places of the path.
    #[serde(default)]
    path: Map<String, Value>,
    #[serde(default)]
    query: Map<String, Value>,
    body: Option<Value>,
    answer: Option<Value>,
}

static EXAMPLES: LazyLock<Vec<Example>> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).expect("a list of examples"));

/// Of several examples of an operation the first is shown; the others are there for what comes after them.
pub fn complete(method: &Method, path: &str, operation: &mut Value) {
    let name = format!("{method} {path}");
    let Some(example) = EXAMPLES.iter().find(|example| example.operation == name) else { return };
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let given = if parameter["in"] == "path" { &example.path } else { &example.query };
        if let Some(value) = parameter["name"].as_str().and_then(|name| given.get(name)) {
            parameter["example"] = value.clone();
        }
    }
    if let Some(body) = &example.body {
        operation["requestBody"]["content"]["application/json"]["example"] = body.clone();
    }
    let Some(answer) = &example.answer else { return };
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, response) in responses.filter(|(status, _)| status.starts_with('2')) {
        for (_, content) in response.get_mut("content").and_then(Value::as_object_mut).into_iter().flatten() {
            if content.get("example").is_none() {
                content["example"] = answer.clone();
            }
        }
    }
}
