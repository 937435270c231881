//! Schemas as they are served: made from types, and brought into the shape that readers expect.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

const HOME: &str = "#/components/schemas/";

/// Writes the types of single fields where they stand, and says of answers that what may be missing is not null.
pub fn complete(description: &mut Value) {
    let Some(Value::Object(schemas)) = description.pointer("/components/schemas").cloned() else { return };
    let (fields, mut objects): (Map<_, _>, Map<_, _>) = schemas.into_iter().partition(|(_, schema)| is_field(schema));
    objects.values_mut().for_each(|schema| write_out(schema, &fields));
    let mut answered = BTreeSet::new();
    for operation in operations(&mut description["paths"]) {
        write_out(operation, &fields);
        mentioned(&operation["responses"], &objects, &mut answered);
    }
    objects.iter_mut().filter(|(name, _)| answered.contains(*name)).for_each(|(_, schema)| never_null_where_missing(schema));
    description["components"]["schemas"] = Value::Object(objects);
}

fn operations(paths: &mut Value) -> impl Iterator<Item = &mut Value> {
    paths.as_object_mut().into_iter().flatten().flat_map(|(_, item)| item.as_object_mut().into_iter().flatten().map(|(_, one)| one))
}

/// Not an object: a text, a number, a word.
fn is_field(schema: &Value) -> bool {
    schema.get("anyOf").is_some() || schema.get("type").is_some_and(|kind| kind != "object")
}

fn target(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str().and_then(|path| path.strip_prefix(HOME))
}

/// Replaces mentions of fields by what they are.
fn write_out(schema: &mut Value, fields: &Map<String, Value>) {
    match schema {
        Value::Array(items) => return items.iter_mut().for_each(|item| write_out(item, fields)),
        Value::Object(object) => object.values_mut().for_each(|value| write_out(value, fields)),
        _ => return,
    }
    if let Some(Value::Object(field)) = target(schema).and_then(|name| fields.get(name)) {
        let mut whole = field.clone();
        write_over(&mut whole, schema, "$ref");
        *schema = Value::Object(whole);
    }
    if let Some([some, null]) = schema["oneOf"].as_array().map(Vec::as_slice).filter(|items| items.len() == 2)
        && null["type"] == "null"
        && let Some(nullable) = or_null(some)
    {
        let mut whole = nullable;
        write_over(&mut whole, schema, "oneOf");
        *schema = Value::Object(whole);
    }
}

/// What stands beside a mention counts more than what is mentioned.
fn write_over(whole: &mut Map<String, Value>, beside: &Value, but: &str) {
    whole.extend(beside.as_object().into_iter().flatten().filter(|(key, _)| *key != but).map(|(key, value)| (key.clone(), value.clone())));
}

/// The same, or null.
fn or_null(schema: &Value) -> Option<Map<String, Value>> {
    let mut schema = schema.as_object()?.clone();
    if let Some(Value::Array(kinds)) = schema.get_mut("anyOf") {
        kinds.push(json!({ "type": "null" }));
        return Some(schema);
    }
    let kinds = match schema.get("type") {
        Some(Value::String(kind)) => json!([kind, "null"]),
        Some(Value::Array(kinds)) => kinds.iter().cloned().chain([json!("null")]).collect(),
        // A mention of an object: what is said of the field stands beside both.
        _ => {
            let said = schema.remove("description");
            let both = json!({ "oneOf": [schema, { "type": "null" }], "description": said });
            return said_only(both);
        }
    };
    schema.insert("type".to_owned(), kinds);
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    }
    Some(schema)
}

fn said_only(mut schema: Value) -> Option<Map<String, Value>> {
    let object = schema.as_object_mut()?;
    object.retain(|_, value| !value.is_null());
    Some(std::mem::take(object))
}

/// Every object that is mentioned, and what these mention.
fn mentioned(schema: &Value, objects: &Map<String, Value>, found: &mut BTreeSet<String>) {
    if let Some(name) = target(schema)
        && found.insert(name.to_owned())
        && let Some(object) = objects.get(name)
    {
        mentioned(object, objects, found);
    }
    match schema {
        Value::Array(items) => items.iter().for_each(|item| mentioned(item, objects, found)),
        Value::Object(object) => object.values().for_each(|value| mentioned(value, objects, found)),
        _ => {}
    }
}

/// Our answers leave out what is not there, but where a field says that it is always there.
fn never_null_where_missing(schema: &mut Value) {
    for part in schema.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        never_null_where_missing(part);
    }
    let required: BTreeSet<String> =
        schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    properties.iter_mut().filter(|(name, _)| !required.contains(*name)).for_each(|(_, property)| without_null(property));
}

fn without_null(schema: &mut Value) {
    let is_null = |schema: &Value| schema["type"] == "null" || schema.is_null() || schema == "null";
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| !is_null(kind));
        if let [kind] = kinds.as_slice() {
            schema["type"] = kind.clone();
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !is_null(word));
    }
    let Some(Value::Array(kinds)) = schema.get_mut("oneOf") else { return };
    kinds.retain(|kind| !is_null(kind));
    if let [Value::Object(some)] = kinds.as_slice() {
        let mut some = some.clone();
        write_over(&mut some, schema, "oneOf");
        *schema = Value::Object(some);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_out_and_answers_are_not_null_where_they_may_be_missing() {
        let at = |name: &str| json!({ "$ref": format!("{HOME}{name}") });
        let maybe = |name: &str| json!({ "oneOf": [{ "$ref": format!("{HOME}{name}"), "description": "Said." }, { "type": "null" }] });
        let thing = json!({ "type": "object", "required": ["id"], "properties": { "id": at("Id"), "word": maybe("Word"), "other": maybe("Other") } });
        let mut description = json!({
            "paths": { "/a": { "post": {
                "requestBody": { "schema": at("New") }, "responses": { "200": { "schema": at("Thing") } },
            } } },
            "components": { "schemas": {
                "Id": { "type": "string" }, "Word": { "type": "string", "enum": ["a"] }, "Other": { "type": "object" }, "Thing": thing, "New": thing,
            } },
        });
        complete(&mut description);
        let schemas = &description["components"]["schemas"];
        assert_eq!(schemas.as_object().unwrap().keys().collect::<Vec<_>>(), ["New", "Other", "Thing"]);
        assert_eq!(
            schemas["Thing"]["properties"],
            json!({
                "id": { "type": "string" },
                "word": { "type": "string", "enum": ["a"], "description": "Said." },
                "other": { "$ref": format!("{HOME}Other"), "description": "Said." },
            })
        );
        assert_eq!(
            schemas["New"]["properties"],
            json!({
                "id": { "type": "string" },
                "word": { "type": ["string", "null"], "enum": ["a", null], "description": "Said." },
                "other": { "oneOf": [at("Other"), { "type": "null" }], "description": "Said." },
            })
        );
    }
}
