//! Outside text becomes typed values, once, here: bodies, path ids, pages, filters.

use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fields::MISSING;
use super::intake::whole;
use super::problem::Problem;
use crate::domain::storable::{self, JSON_DEPTH_MAX, nested_too_deep};
use crate::domain::words::UnknownWord;
use crate::domain::{DeviceId, PublicTaskId, Timestamp};
use crate::projections::reads::{Page, Place};
use crate::telemetry::brief;

/// A JSON body, on its way in and out. On the way in keys of its object match whatever their case, unknown ones are ignored, a
/// wrong type is refused, and so is a body that is missing.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        parse(&whole(request.into_body()).await?).map(Self)
    }
}

/// A JSON body that may be missing, or `null`: then it is as if it were `{}`.
#[derive(Debug)]
pub struct MaybeJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = whole(request.into_body()).await?;
        parse(if matches!(bytes.trim_ascii(), b"" | b"null") { b"{}" } else { &bytes }).map(Self)
    }
}

/// A JSON body, or the fields of a form: programs that log in as OAuth 2 says send one, our API page is one of them.
#[derive(Debug)]
pub struct JsonOrForm<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonOrForm<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let form = kind.is_some_and(|kind| kind.trim().to_lowercase().starts_with(FORM));
        let bytes = whole(request.into_body()).await?;
        // Some clients call everything a form.
        if form && !bytes.trim_ascii_start().starts_with(b"{") { fitted(fields_of_form(&bytes)?) } else { parse(&bytes) }.map(Self)
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// A form is written as a query is. Of a repeated name the first value counts.
fn fields_of_form(bytes: &[u8]) -> Result<Value, Problem> {
    let bad = || Problem::invalid("the body is not a form");
    let query = std::str::from_utf8(bytes).map_err(|_| bad())?;
    let uri = Uri::builder().path_and_query(format!("/?{query}")).build().map_err(|_| bad())?;
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|_| bad())?;
    Ok(Value::Object(pairs.into_iter().rev().map(|(name, value)| (name, value.into())).collect()))
}

/// JSON text as a value of ours.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::invalid("a JSON body is required"));
    }
    fitted(serde_json::from_slice(bytes).map_err(|error| Problem::invalid(format!("the body is not JSON: {error}")))?)
}

fn fitted<T: DeserializeOwned>(mut value: Value) -> Result<T, Problem> {
    // Postgres keeps no NUL in texts, and none is ever meant.
    if has_nul(&value) {
        return Err(Problem::invalid("a text in the body contains a NUL character"));
    }
    if nested_too_deep(&value) {
        return Err(Problem::invalid(format!("the body is nested more than {JSON_DEPTH_MAX} levels deep")));
    }
    fold_keys(&mut value)?;
    serde_path_to_error::deserialize(value).map_err(|error| misfit(&error))
}

/// What does not fit, by the path of its field.
fn misfit(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let (path, why) = (error.path().to_string(), error.inner().to_string());
    // Of a missing field the path is that of what it is missing in.
    if let Some(name) = why.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let field = if path == "." { name.to_owned() } else { format!("{path}.{name}") };
        return Problem::of_field(&field, MISSING);
    }
    if why.starts_with("invalid type: null") {
        return Problem::of_field(&path, MISSING);
    }
    // The text repeats the value that does not fit.
    let does_not_fit = if why.starts_with("invalid") { "does not fit: " } else { "" };
    Problem::of_field(&path, format_args!("{does_not_fit}{}", brief(&why)))
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(object) => object.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// Fields of bodies with lists of objects of ours, whose keys match in any case as well.
const LISTS: [&str; 1] = ["task_groups"];

/// Lower-cases the keys of a body, and of the objects in [`LISTS`]. What else is inside may be the caller's own JSON.
fn fold_keys(body: &mut Value) -> Result<(), Problem> {
    let Value::Object(body) = body else { return Err(Problem::invalid("the body must be a JSON object")) };
    fold(body);
    for list in LISTS {
        for (index, item) in body.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            let object = item.as_object_mut();
            fold(object.ok_or_else(|| Problem::of_field(&format!("{list}[{index}]"), "must be an object"))?);
        }
    }
    Ok(())
}

/// An exact key wins over one that differs by case.
fn fold(object: &mut serde_json::Map<String, Value>) {
    let odd: Vec<String> = object.keys().filter(|key| key.chars().any(char::is_uppercase)).cloned().collect();
    for key in odd {
        if let Some(value) = object.remove(&key) {
            object.entry(key.to_lowercase()).or_insert(value);
        }
    }
}

/// The `:id` of a path. Not an integer is refused; whether it has to be positive is the route's rule.
#[derive(Clone, Copy, Debug)]
pub struct PathId(pub i64);

impl PathId {
    /// On routes where 0 and below are not ids at all.
    pub fn positive(self) -> Result<i64, Problem> {
        if self.0 > 0 { Ok(self.0) } else { Err(Problem::invalid("the id in the path must be positive")) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| invalid_id())?;
        text.parse().map(Self).map_err(|_| invalid_id())
    }
}

fn invalid_id() -> Problem {
    Problem::invalid("the id in the path must be an integer")
}

/// The one text of a path.
#[derive(Clone, Debug)]
pub struct PathText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bad = || Problem::invalid("the path cannot be read");
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| bad())?;
        if text.contains('\0') { Err(bad()) } else { Ok(Self(text)) }
    }
}

/// The two texts of a path.
#[derive(Clone, Debug)]
pub struct PathTexts(pub (String, String));

impl<S: Send + Sync> FromRequestParts<S> for PathTexts {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let texts = Path::from_request_parts(parts, state).await.map_err(|_| Problem::invalid("the path cannot be read"))?;
        Ok(Self(texts.0))
    }
}

/// The device of a path.
#[derive(Clone, Debug)]
pub struct PathDevice(pub DeviceId);

impl<S: Send + Sync> FromRequestParts<S> for PathDevice {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bad = || Problem::invalid("the device id in the path is not one that a device can have");
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| bad())?;
        DeviceId::parse(&text).map(Self).map_err(|_| bad())
    }
}

/// The query of a request, by name. Of a repeated name the first value counts.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bad = || Problem::invalid("the query cannot be read");
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await.map_err(|_| bad())?;
        if pairs.iter().any(|(_, value)| value.contains('\0')) {
            return Err(bad());
        }
        Ok(Self(pairs))
    }
}

/// Names of a page's place in queries: how many entries come before it, or the entry.
pub const OFFSET: &str = "offset";
pub const AFTER: &str = "after";

/// The contract's pages.
pub const PAGE_DEFAULT: i64 = 50;
pub const PAGE_MAX: i64 = 100;
/// Limits of list filters, from the contract.
const LIST_BYTES_MAX: usize = 8192;
const LIST_ITEMS_MAX: usize = 100;
const LIST_ITEM_BYTES_MAX: usize = 255;
const LIST_NUMBER_CHARS_MAX: usize = 20;
/// Routes without an upper bound in the contract still need one: rows are held in memory.
const FREE_LIMIT_MAX: i64 = 1000;

impl Params {
    /// A value, trimmed; empty is as good as missing. For words and numbers, and for names, which are trimmed
    /// before they are stored, too.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.exact(name).trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// A value as it was sent, for texts that others made, as keys of objects: a space belongs to them.
    pub fn exact(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Every value of a repeated name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.trim()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The first of several spellings that says something.
    pub fn keyword(&self) -> Option<String> {
        self.first(&["keyword", "q", "search"])
    }

    pub fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }

    /// A comma-separated list. `names` are aliases.
    pub fn list(&self, names: &[&str]) -> Result<Option<Vec<String>>, Problem> {
        self.list_of(names, LIST_ITEM_BYTES_MAX)
    }

    fn list_of(&self, names: &[&str], item_max: usize) -> Result<Option<Vec<String>>, Problem> {
        let name = names[0];
        let Some(raw) = self.first(names) else { return Ok(None) };
        if raw.len() > LIST_BYTES_MAX {
            return Err(Problem::of_field(name, format_args!("is longer than {LIST_BYTES_MAX} bytes")));
        }
        let items: Vec<&str> = raw.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
        if items.len() > LIST_ITEMS_MAX {
            return Err(Problem::of_field(name, format_args!("has more than {LIST_ITEMS_MAX} items")));
        }
        if items.iter().any(|item| item.len() > item_max) {
            return Err(Problem::of_field(name, format_args!("has an item that is longer than {item_max} bytes")));
        }
        let mut known = Vec::<String>::new();
        for item in items {
            if !known.iter().any(|other| other == item) {
                known.push(item.to_owned());
            }
        }
        Ok((!known.is_empty()).then_some(known))
    }

    /// A comma-separated list of positive integers.
    pub fn id_list<T>(&self, names: &[&str], kind: impl Fn(i64) -> T) -> Result<Option<Vec<T>>, Problem> {
        let Some(items) = self.list_of(names, LIST_NUMBER_CHARS_MAX)? else { return Ok(None) };
        let id = |item: &String| item.parse().ok().filter(|id| *id > 0).map(&kind);
        let bad = || Problem::of_field(names[0], "must be positive integers separated by commas");
        items.iter().map(|item| id(item).ok_or_else(bad)).collect::<Result<_, _>>().map(Some)
    }

    /// A comma-separated list of words of a closed list.
    pub fn word_list<T: FromStr<Err = UnknownWord>>(&self, name: &str) -> Result<Option<Vec<T>>, Problem> {
        let Some(items) = self.list(&[name])? else { return Ok(None) };
        items.iter().map(|item| word(name, item)).collect::<Result<_, _>>().map(Some)
    }

    /// One word of a closed list.
    pub fn word<T: FromStr<Err = UnknownWord>>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.text(name).map(|item| word(name, &item)).transpose()
    }

    /// An id, or a number of things.
    pub fn positive(&self, name: &str) -> Result<Option<i64>, Problem> {
        let bad = || Problem::of_field(name, "must be a positive integer");
        self.text(name).map(|text| text.parse().ok().filter(|number| *number > 0).ok_or_else(bad)).transpose()
    }

    /// Booleans as lenient callers write them; anything else does not count.
    pub fn lenient_bool(&self, name: &str) -> Option<bool> {
        parse_bool(&self.text(name)?)
    }

    /// The same where another word would mean more than was asked for: it is refused.
    pub fn strict_bool(&self, name: &str) -> Result<Option<bool>, Problem> {
        let no_bool = || Problem::of_field(name, "must be true or false");
        self.text(name).map(|text| parse_bool(&text).ok_or_else(no_bool)).transpose()
    }

    /// An instant with any offset.
    pub fn instant(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        self.text(name).map(|text| instant(name, &text)).transpose()
    }

    /// The contract's **P100**: default 50, at most 100, garbage refused.
    pub fn page_to_100(&self) -> Result<Page, Problem> {
        self.strict_page(PAGE_MAX)
    }

    /// The contract's **Pfree**: as much as asked for, up to what we hold in memory.
    pub fn page_free(&self) -> Result<Page, Problem> {
        self.strict_page(FREE_LIMIT_MAX)
    }

    fn strict_page(&self, most: i64) -> Result<Page, Problem> {
        let limit = match self.text("limit") {
            None => PAGE_DEFAULT,
            Some(text) => text
                .parse::<i64>()
                .ok()
                .filter(|limit| *limit >= 1)
                .ok_or_else(|| Problem::of_field("limit", "must be a positive integer"))?,
        };
        let offset = match self.text(OFFSET) {
            None => 0,
            Some(text) => {
                text.parse::<i64>().ok().filter(|at| *at >= 0).ok_or_else(|| Problem::of_field(OFFSET, "must not be negative"))?
            }
        };
        Ok(Page { limit: Some(limit.min(most)), offset, after: self.after(offset)? })
    }

    /// The place behind which a page begins, instead of an offset.
    fn after(&self, offset: i64) -> Result<Option<Place>, Problem> {
        match self.text(AFTER) {
            None => Ok(None),
            Some(_) if offset != 0 => Err(Problem::invalid("after and offset exclude each other")),
            Some(text) => text.parse().map(Some).map_err(|_| Problem::of_field(AFTER, "must be the next_after of a page")),
        }
    }

    /// The contract's **Plax**: garbage counts as the default; 0 is an empty page.
    pub fn page_lax(&self) -> Result<Page, Problem> {
        let number = |name: &str| self.text(name).and_then(|text| text.parse::<i64>().ok()).filter(|number| *number >= 0);
        let offset = number(OFFSET).unwrap_or(0);
        Ok(Page { limit: Some(number("limit").unwrap_or(PAGE_DEFAULT).min(PAGE_MAX)), offset, after: self.after(offset)? })
    }
}

/// A word of a closed list.
pub fn word<T: FromStr<Err = UnknownWord>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|unknown| Problem::of_field(name, unknown))
}

pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

pub fn instant(name: &str, text: &str) -> Result<Timestamp, Problem> {
    storable::instant(text).map_err(|why| Problem::of_field(name, why))
}

pub fn public_task_id(text: &str) -> Result<PublicTaskId, Problem> {
    PublicTaskId::parse(text).map_err(|error| Problem::of_field("task_id", error))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::domain::OrderId;

    fn query(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Example {
        name: Option<String>,
        quantity: Option<i64>,
        metadata: Option<Value>,
    }

    #[test]
    fn keys_match_in_any_case_unknown_ones_are_ignored_and_null_is_missing() {
        let body = json!({"NAME": "a", "quantity": null, "metadata": {"Key": 1}, "other": true}).to_string();
        let read: Example = parse(body.as_bytes()).unwrap();
        assert_eq!(read, Example { name: Some("a".into()), quantity: None, metadata: Some(json!({"Key": 1})) });
    }

    #[test]
    fn a_wrong_type_is_refused_and_so_is_a_quoted_number() {
        for body in [r#"{"quantity":"3"}"#, r#"{"name":3}"#, "[]", "{", r#"{"name":"a\u0000"}"#, r#"{"quantity":1.5}"#] {
            assert_eq!(parse::<Example>(body.as_bytes()).unwrap_err().status(), 400, "{body}");
        }
        let long = json!({ "quantity": "x".repeat(100_000) }).to_string();
        assert!(format!("{:?}", parse::<Example>(long.as_bytes()).unwrap_err()).len() < 1000, "a refusal repeats what it refuses");
    }

    #[test]
    fn pages_follow_the_three_rule_sets() {
        let page = |limit, offset| Page { limit: Some(limit), offset, after: None };
        assert_eq!(query(&[]).page_to_100().unwrap(), page(50, 0));
        assert_eq!(query(&[("limit", "101"), ("offset", "7")]).page_to_100().unwrap(), page(100, 7));
        assert_eq!(query(&[("limit", "500")]).page_free().unwrap(), page(500, 0));
        for bad in [("limit", "0"), ("limit", "x"), ("offset", "-1"), ("offset", "x")] {
            assert!(query(&[bad]).page_to_100().is_err(), "{bad:?}");
            assert!(query(&[bad]).page_free().is_err(), "{bad:?}");
        }
        assert_eq!(query(&[("limit", "x"), ("offset", "-3")]).page_lax().unwrap(), page(50, 0));
        assert_eq!(query(&[("limit", "0")]).page_lax().unwrap(), page(0, 0));
        assert_eq!(query(&[("limit", "1000")]).page_lax().unwrap(), page(100, 0));
    }

    #[test]
    fn what_is_exact_keeps_its_spaces() {
        let query = query(&[("object", " a\u{3000}"), ("bucket", "")]);
        assert_eq!((query.exact("object"), query.text("object")), (" a\u{3000}", Some("a".to_owned())));
        assert_eq!((query.exact("bucket"), query.exact("none")), ("", ""));
    }

    #[test]
    fn lists_are_trimmed_deduplicated_and_limited() {
        assert_eq!(query(&[("ids", " 3, ,4,3 ")]).id_list(&["ids"], OrderId).unwrap(), Some(vec![OrderId(3), OrderId(4)]));
        assert_eq!(query(&[("ids", " , ")]).id_list(&["ids"], OrderId).unwrap(), None);
        assert_eq!(query(&[("name", "a")]).list(&["order_name", "name"]).unwrap(), Some(vec!["a".into()]));
        assert!(query(&[("ids", "0")]).id_list(&["ids"], OrderId).is_err());
        assert!(query(&[("ids", "x")]).id_list(&["ids"], OrderId).is_err());
        assert!(query(&[("n", &vec!["1"; 101].join(","))]).list(&["n"]).is_err());
        assert!(query(&[("n", &"x".repeat(256))]).list(&["n"]).is_err());
        assert!(query(&[("n", &"x,".repeat(5000))]).list(&["n"]).is_err());
    }

    #[test]
    fn the_first_keyword_that_says_something_counts() {
        assert_eq!(query(&[("keyword", " "), ("search", "b"), ("q", "a")]).keyword(), Some("a".into()));
    }

    #[test]
    fn a_form_is_read_like_a_body() {
        assert_eq!(fields_of_form(b"name=a%20%C3%A4+b&quantity=3&name=c").unwrap(), json!({"name": "a \u{e4} b", "quantity": "3"}));
        assert!(fields_of_form(b"\xff").is_err());
        let with_nul: Result<Example, _> = fitted(fields_of_form(b"name=%00").unwrap());
        assert_eq!(with_nul.unwrap_err().status(), 400);
    }

    #[test]
    fn a_refusal_names_the_field_and_what_was_expected() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only refusals are looked at")]
        struct Body {
            name: String,
            task_groups: Vec<Group>,
        }
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only refusals are looked at")]
        struct Group {
            sop_id: crate::http::fields::GivenId,
        }
        for (body, field, detail) in [
            (json!({"task_groups": []}), "name", "name is required"),
            (json!({"name": null}), "name", "name is required"),
            (json!({"name": 3}), "name", "name does not fit: invalid type: integer `3`, expected a string"),
            (json!({"name": "a", "task_groups": [{"sop_id": 1}, {}]}), "task_groups[1].sop_id", "task_groups[1].sop_id is required"),
            (json!({"name": "a", "task_groups": [[1]]}), "task_groups[0]", "task_groups[0] must be an object"),
            (
                json!({"name": "a", "task_groups": [{"SOP_ID": "x"}]}),
                "task_groups[0].sop_id",
                "task_groups[0].sop_id must be a positive integer, as number or as text",
            ),
        ] {
            let problem = parse::<Body>(body.to_string().as_bytes()).unwrap_err();
            assert_eq!((problem.detail(), problem.extra("field")), (detail, Some(&json!(field))), "{body}");
        }
    }
}
