//! The registry: one file per kind of entry, all of the same shape: list, create, get.
//!
//! A created entry is answered in full: older servers left some fields out, and clients
//! ignore what they do not know. Ids are text everywhere but for robot types.

pub mod config_templates;
pub mod data_collectors;
pub mod factories;
pub mod organizations;
pub mod robot_types;
pub mod robots;
pub mod scenes;
pub mod skills;
pub mod sops;
pub mod subscenes;

use super::extract::{NAME, optional, required};
use super::problem::Problem;

const VERSION: usize = 20;
const SLUG: usize = 100;

/// Letters of any script, digits and hyphens.
fn slug(text: Option<String>) -> Result<String, Problem> {
    let slug = required("slug", text, SLUG)?;
    if slug.chars().all(|c| c.is_alphanumeric() || c == '-') {
        return Ok(slug);
    }
    Err(Problem::invalid("slug may have letters, digits and hyphens"))
}

fn version(text: Option<String>) -> Result<Option<String>, Problem> {
    optional("version", text, VERSION)
}

fn name(text: Option<String>) -> Result<String, Problem> {
    required("name", text, NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_words_of_any_script() {
        assert_eq!(slug(Some(" 抓取-2 ".into())).unwrap(), "抓取-2");
        for bad in ["", "a b", "a_b", "a/b", &"x".repeat(101)] {
            assert!(slug(Some(bad.into())).is_err(), "{bad:?}");
        }
    }
}
