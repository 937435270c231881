//! One table of settings laid over another.

use toml::{Table, Value};

use super::error::{ConfigError, nearest};

/// The documentation of every key, and its default.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

pub(super) fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| ConfigError::Syntax { origin: origin.to_owned(), message: error.to_string() })
}

/// Lays `given` over `base`. What `base` does not have is a mistake, except that a
/// subscriber's table may name any key of `outbox.defaults`.
pub(super) fn merge(base: &mut Table, given: Table, origin: &str, path: &str) -> Result<(), ConfigError> {
    let delivery_keys = base.get("defaults").filter(|_| path == "outbox").and_then(Value::as_table).cloned();
    for (key, value) in given {
        let full = join(path, &key);
        let Some(slot) = base.get_mut(&key) else {
            let keys = base.keys().map(|known| join(path, known));
            return Err(ConfigError::UnknownKey { origin: origin.to_owned(), nearest: nearest(&full, keys), key: full });
        };
        if full == "outbox.subscribers"
            && let (Some(defaults), Some(tables), Some(given)) = (&delivery_keys, slot.as_table_mut(), value.as_table())
        {
            // What cannot be is told beside all keys that there are.
            let mut whole = tables.clone();
            whole.iter_mut().for_each(|(_, table)| complete(table, defaults));
            merge(&mut whole, given.clone(), origin, &full)?;
            for (name, table) in tables.iter_mut() {
                // Only what is said here: the rest follows `outbox.defaults`, whatever that is in the end.
                let named = given.get(name).and_then(Value::as_table);
                let said = |key: &str| named.is_some_and(|named| named.keys().any(|known| known == key));
                complete(table, &defaults.iter().filter(|(key, _)| said(key)).map(|(key, value)| (key.clone(), value.clone())).collect());
            }
        }
        match (slot, value) {
            (Value::Table(slot), Value::Table(value)) => merge(slot, value, origin, &full)?,
            (slot, value) if slot.same_type(&value) => *slot = value,
            (slot, value) => {
                return Err(ConfigError::WrongType { origin: origin.to_owned(), key: full, expected: kind(slot), found: kind(&value) });
            }
        }
    }
    Ok(())
}

/// Gives sections their defaults back.
pub(super) fn reset(settings: &mut Table, section: impl Fn(&str) -> bool) -> Result<(), ConfigError> {
    let mut defaults = parse("config/default.toml", DEFAULTS)?;
    complete_subscribers(&mut defaults);
    settings.extend(defaults.into_iter().filter(|(key, _)| section(key)));
    Ok(())
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// A subscriber's table inherits what it does not say.
pub(super) fn complete_subscribers(settings: &mut Table) {
    let Some(outbox) = settings.get_mut("outbox").and_then(Value::as_table_mut) else {
        return;
    };
    let Some(defaults) = outbox.get("defaults").and_then(Value::as_table).cloned() else {
        return;
    };
    if let Some(tables) = outbox.get_mut("subscribers").and_then(Value::as_table_mut) {
        for (_, table) in tables.iter_mut() {
            complete(table, &defaults);
        }
    }
}

fn complete(table: &mut Value, defaults: &Table) {
    if let Some(table) = table.as_table_mut() {
        for (key, value) in defaults {
            table.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}
