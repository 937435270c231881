//! The registry: one file per kind of entry, all of the same shape: list, create, get, change, delete. [`cloud_assets`] is what the data platform knows robots as.
//!
//! A created entry is answered in full: older servers left some fields out, and clients
//! ignore what they do not know. Ids are text everywhere but for robot types.

pub mod cloud_assets;
pub mod config_templates;
pub mod data_collectors;
pub mod factories;
pub mod inspectors;
pub mod organizations;
pub mod robot_types;
pub mod robots;
pub mod scenes;
pub mod skills;
pub mod sops;
pub mod subscenes;

use axum::http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::AppState;
use super::auth::Caller;
use super::fields::{MayBeEmpty, Text, field};
use super::problem::{Code, Problem};
use crate::commands::registry::{Change, Delete, Entry};

/// What a change asks for. One that asks for nothing is a mistake.
pub fn asked<C: Default + PartialEq>(change: C) -> Result<C, Problem> {
    if change == C::default() {
        return Err(Problem::new(Code::NothingToChange, "the change names nothing that can be changed"));
    }
    Ok(change)
}

/// Changes an entry in what is asked for.
async fn changed<R: Entry>(state: &AppState, caller: &Caller, id: i64, change: R::Change) -> Result<(), Problem> {
    let change = asked(change)?;
    Ok(state.commands.execute(&caller.context(), Change::<R> { id, change }).await?)
}

/// Deletes an entry that nothing needs.
async fn deleted<R: Entry>(state: &AppState, caller: &Caller, id: i64) -> Result<StatusCode, Problem> {
    state.commands.execute(&caller.context(), Delete::<R>::of(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A login name that the administrator does not have.
pub fn not_the_administrators(field: &str, name: String, admin: &str) -> Result<String, Problem> {
    match name.eq_ignore_ascii_case(admin) {
        true => Err(Problem::of_field(field, "is the administrator's account name")),
        false => Ok(name),
    }
}

pub type Version = MayBeEmpty<20>;

const SLUG: usize = 100;

/// Letters of any script, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slug(pub String);

impl<'de> Deserialize<'de> for Slug {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(slug) = Text::<SLUG>::deserialize(deserializer)?;
        if slug.chars().all(|c| c.is_alphanumeric() || c == '-') {
            return Ok(Self(slug));
        }
        Err(D::Error::custom("may have letters, digits and hyphens"))
    }
}

impl PartialSchema for Slug {
    fn schema() -> RefOr<Schema> {
        Text::<SLUG>::schema()
    }
}
field!(Slug);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_words_of_any_script() {
        let slug = |text: &str| serde_json::from_value::<Slug>(text.into());
        assert_eq!(slug(" 抓取-2 ").unwrap(), Slug("抓取-2".into()));
        for bad in ["", "a b", "a_b", "a/b", &"x".repeat(101)] {
            assert!(slug(bad).is_err(), "{bad:?}");
        }
    }
}
