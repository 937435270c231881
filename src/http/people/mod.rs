//! Who may use the server: accounts of people who belong to no organization, keys of programs, and sessions.

pub mod accounts;
pub mod api_keys;
pub mod sessions;

use std::collections::BTreeSet;

use super::fields::GivenId;
use super::problem::Problem;
use super::wire::TextId;
use crate::domain::FactoryId;
use crate::domain::account::Factories;

/// Of one account or key.
const FACTORIES_MAX: usize = 100;

/// Which factories a login is to be for; none: nothing was said.
fn factories_said(given: Option<Vec<GivenId>>, whole_site: Option<bool>) -> Result<Option<Factories>, Problem> {
    match (given, whole_site) {
        (Some(_), Some(true)) => Err(Problem::of_field("whole_site", "cannot be true where `factories` are named")),
        (None, Some(true)) => Ok(Some(None)),
        (None, Some(false)) => Err(Problem::of_field("factories", "must be named where `whole_site` is false")),
        (None, None) => Ok(None),
        (Some(ids), _) if ids.is_empty() || ids.len() > FACTORIES_MAX => {
            Err(Problem::of_field("factories", format_args!("must name 1 to {FACTORIES_MAX} factories")))
        }
        (Some(ids), _) => Ok(Some(Some(ids.into_iter().map(|GivenId(id)| FactoryId(id)).collect::<BTreeSet<_>>()))),
    }
}

fn shown(factories: Option<Vec<FactoryId>>) -> Option<Vec<TextId>> {
    factories.map(|ids| ids.into_iter().map(|id| TextId(id.0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factories_are_named_or_it_is_the_whole_site() {
        let said = |ids: Option<&[i64]>, whole| factories_said(ids.map(|ids| ids.iter().map(|id| GivenId(*id)).collect()), whole).ok();
        assert_eq!(said(None, None), Some(None), "nothing was said");
        assert_eq!(said(None, Some(true)), Some(Some(None)));
        for some in [None, Some(false)] {
            assert_eq!(said(Some(&[2, 1, 2]), some), Some(Some(Some([FactoryId(1), FactoryId(2)].into()))));
        }
        for (ids, whole) in [(None, Some(false)), (Some(&[][..]), None), (Some(&[1][..]), Some(true)), (Some(&[1; 101][..]), None)] {
            assert_eq!(said(ids, whole), None, "{ids:?} {whole:?}");
        }
    }
}
