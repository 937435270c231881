//! What a request was about: a kind and an id, as the log names units.

use axum::extract::Query;
use axum::http::Uri;

/// Longer ids are none.
const CHARS_MAX: usize = 500;

/// Of the first id in the path, by the pattern of its route; without one, of the object that the query names.
pub fn entity(pattern: &str, uri: &Uri) -> Option<String> {
    let (named, given): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), uri.path().split('/').collect());
    let at = named.iter().position(|segment| segment.starts_with('{'));
    let entity = match at.filter(|at| *at > 0) {
        Some(at) if named[at] == "{device_id}" => format!("device/{}", given.get(at)?),
        Some(at) => format!("{}/{}", kind_of(named[at - 1]), given.get(at)?),
        None => format!("object/{}", object(uri)?),
    };
    (entity.chars().count() <= CHARS_MAX && !entity.contains('\0')).then_some(entity)
}

fn object(uri: &Uri) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs.into_iter().find(|(name, value)| name == "object" && !value.is_empty()).map(|(_, object)| object)
}

/// The name of one of a collection.
fn kind_of(collection: &str) -> String {
    match collection {
        "suites" | "references" => format!("qa_{}", collection.trim_end_matches('s')),
        _ => one_of(collection).replace('-', "_"),
    }
}

fn one_of(collection: &str) -> String {
    if let Some(stem) = collection.strip_suffix("ies") {
        return format!("{stem}y");
    }
    collection
        .strip_suffix("es")
        .filter(|stem| stem.ends_with("ch"))
        .or_else(|| collection.strip_suffix('s'))
        .unwrap_or(collection)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Kind;

    #[test]
    fn what_a_route_is_about_is_called_as_in_the_log() {
        for (pattern, path, expected) in [
            ("/api/v1/data_collectors/{id}", "/api/v1/data_collectors/17", Some("data_collector/17")),
            ("/api/v1/inspectors/{id}", "/api/v1/inspectors/3", Some("inspector/3")),
            ("/api/v1/episodes/{id}/presign", "/api/v1/episodes/9/presign", Some("episode/9")),
            ("/api/v1/batches/{id}", "/api/v1/batches/4", Some("batch/4")),
            ("/api/v1/factories/{id}", "/api/v1/factories/1", Some("factory/1")),
            ("/api/v1/recorder/{device_id}/begin", "/api/v1/recorder/AB-1/begin", Some("device/AB-1")),
            ("/api/v1/qa/suites/{id}", "/api/v1/qa/suites/2", Some("qa_suite/2")),
            ("/api/v1/dead-letters/{id}", "/api/v1/dead-letters/8", Some("dead_letter/8")),
            ("/api/v1/episodes/{id}/recording/{token}/{filename}", "/api/v1/episodes/9/recording/secret/e.mcap", Some("episode/9")),
            ("/api/v1/storage/object", "/api/v1/storage/object?bucket=b&dl_token=secret&object=f%2Fd%2Fa.mcap", Some("object/f/d/a.mcap")),
            ("/api/v1/storage/object", "/api/v1/storage/object?object=a%00b", None),
            ("/api/v1/data_collectors", "/api/v1/data_collectors?keyword=Li", None),
        ] {
            let found = entity(pattern, &path.parse().unwrap());
            assert_eq!(found.as_deref(), expected, "{path}");
            let kind = expected.and_then(|entity| entity.split_once('/')).map(|(kind, _)| kind);
            assert!(kind.is_none_or(|kind| kind == "object" || Kind::parse(kind).is_some()), "{kind:?}");
        }
        let long = format!("/api/v1/episodes/{}", "9".repeat(1_000));
        assert_eq!(entity("/api/v1/episodes/{id}", &long.parse().unwrap()), None);
    }
}
