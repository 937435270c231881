//! What a parameter means, where its route does not say it: the same name means the same on every route.

use serde_json::{Value, json};

use crate::http::extract::{PAGE_DEFAULT, PAGE_MAX};

/// Names of paths and queries.
const COMMON: &[(&str, &str)] = &[
    (
        "at",
        "How it was, instead of how it is: at this position of the log, or at this RFC 3339 time, which means with everything that was logged \
         by then. `keystone-at-position` in the answer says of which position it is. Of lists only within one order: with `order_id` or `batch_id`",
    ),
    ("batch_id", "Only of this batch"),
    ("bucket", "The bucket of the object"),
    ("certification_level", "Only with this level"),
    ("collector_name", "Only of data collectors of this name"),
    ("collector_operator_id", "Only of the data collector with this login name"),
    ("connected", "Only robots whose sockets are both up (`true`), or are not (`false`)"),
    ("device_id", "Only of the robot with this device id"),
    ("factory_id", "Only of this factory"),
    ("id", "The id, as the answer gave it that made the thing, or a list of such things"),
    ("ids", "Only these"),
    ("inspector_id", "Only of the inspector with this login name"),
    ("keyword", "Only where one of the names has this in it"),
    ("object", "The key of the object"),
    ("offset", "How many entries come before the page; default 0"),
    ("order_id", "Only of this order"),
    ("organization_id", "Only of this organization"),
    ("priority", "Only with this priority"),
    ("qa_status", "Only with this status"),
    ("robot_device_id", "Only of the robot with this device id"),
    ("robot_type_id", "Only of this robot type"),
    ("scene_id", "Only of this scene"),
    ("sop_id", "Only by this SOP"),
    ("station_id", "Only of this workstation"),
    ("slug", "Only with this slug"),
    ("status", "Only with this status"),
    ("subscene_id", "Only this subscene"),
    ("task_id", "Only of this task"),
    ("workstation_id", "Only of this workstation"),
];

/// Lists of these tags take several values of each filter.
const OF_SEVERAL: [&str; 2] = ["orders", "registry"];
/// Names that mean one value everywhere.
const OF_ONE: [&str; 4] = ["at", "keyword", "offset", "id"];

pub fn complete(operation: &mut Value) {
    let tag = operation["tags"][0].as_str().unwrap_or_default().to_owned();
    // Pages of episodes take whatever is asked for as good as they can: the contract's Plax.
    let strict = tag != "episodes";
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let (name, query) = (parameter["name"].as_str().unwrap_or_default().to_owned(), parameter["in"] == "query");
        let said = match COMMON.iter().find(|(known, _)| *known == name) {
            Some(_) if name == "device_id" && !query => Some("The robot's device id".to_owned()),
            Some((_, text)) if query && OF_SEVERAL.contains(&&*tag) && !OF_ONE.contains(&&*name) => {
                Some(format!("{text}; or one of several, separated by commas"))
            }
            Some((_, text)) => Some((*text).to_owned()),
            None if name == "limit" => Some(format!("How many entries the page has at most: 1 to {PAGE_MAX}, default {PAGE_DEFAULT}")),
            None => None,
        };
        if let Some(said) = said.filter(|_| parameter.get("description").is_none()) {
            parameter["description"] = said.into();
        }
        match name.as_str() {
            "limit" if strict => parameter["schema"]["minimum"] = json!(1),
            "offset" if strict => parameter["schema"]["minimum"] = json!(0),
            _ => {}
        }
    }
}
