//! Routes that wait for a device, and need not: `Prefer`, and the answer that says where to look.

use serde_json::{Value, json};

pub fn complete(operation: &mut Value) {
    let prefer = json!({
        "name": "Prefer", "in": "header", "required": false, "schema": {"type": "string"},
        "description": "`respond-async`: answer with 202 at once; `wait=N`: within N seconds, with the outcome or with 202. \
                        Else the answer waits for the outcome.",
    });
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.push(prefer);
    }
    let id = "880dcde2-5cc8-4926-8927-f806b4984ae3";
    let place = format!("/api/v1/requests/{id}");
    let text = |description: &str| json!({ "description": description, "schema": {"type": "string"} });
    operation["responses"]["202"] = json!({
        "description": "It is on its way, and the caller prefers to look later",
        "headers": { "Location": text("Where to look"), "Preference-Applied": text("What of `Prefer` was heeded") },
        "content": { "application/json": {
            "schema": {"$ref": "#/components/schemas/Accepted"},
            "example": { "id": id, "location": place, "status": "pending" },
        } },
    });
}
