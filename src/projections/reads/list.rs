//! Lists: which part of one is asked for, and the SQL that each is.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::home::Home;
use super::place::{self, KEYS_MAX, Key, KeyType, NotAPlace, Place};
use crate::domain::{Timestamp, storable};

/// What a statement is given.
pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// `None`: everything that is there.
    pub limit: Option<i64>,
    pub offset: i64,
    /// Behind this place; then `offset` is 0.
    pub after: Option<Place>,
}

impl Page {
    pub const ALL: Self = Self { limit: None, offset: 0, after: None };
}

/// Rows of one page, and how many there are in all.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<R> {
    pub rows: Vec<R>,
    pub total: i64,
    /// Where the next page begins, if there is more.
    pub next: Option<Place>,
}

impl<R> Listed<R> {
    pub const NOTHING: Self = Self { rows: vec![], total: 0, next: None };

    /// One page of what is there as a whole.
    pub fn part(all: Vec<R>, page: &Page) -> Self {
        let number = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let rows = all.into_iter().skip(number(page.offset)).take(page.limit.map_or(usize::MAX, number)).collect();
        Self { rows, total, next: None }
    }

    pub fn map<S>(self, change: impl FnMut(R) -> S) -> Listed<S> {
        Listed { rows: self.rows.into_iter().map(change).collect(), total: self.total, next: self.next }
    }
}

/// A list, as SQL: where rows come from, which ones, in which order.
pub(super) struct ListQuery {
    pub from: &'static str,
    pub matches: String,
    /// The last one tells any two rows apart.
    pub order: Vec<Key>,
    /// How many parameters `matches` takes; those of the place come after them, then limit and offset.
    pub parameters: usize,
    /// A faster count of the same, where there is one and everything is seen.
    pub counted: Option<String>,
    pub home: Home,
}

/// Reads a page of a list value by value: of each as much as the page holds at most, from an index that has the value and then the order
/// of the list. All rows of some values sorted would cost as much as there are; a walk in the order of the list, as many as lie between.
pub(super) struct Each {
    /// A query of one column.
    pub values: &'static str,
    /// What is one of the values, as SQL over a row.
    pub column: &'static str,
    /// What names a row.
    pub id: &'static str,
}

/// Behind so many rows a page is not read value by value: that would be as many of each.
pub(super) const WALKED_BY_VALUE_MAX: i64 = 1000;

impl ListQuery {
    /// Counted in the table alone that all of `matches` is about. Postgres drops a left join that is not needed, and wants the column that was
    /// joined by all the same: it would read each row for it, where an index has the rest.
    pub fn counted_in(mut self, from: &str) -> Self {
        self.counted = Some(format!("select count(*) from {from} where {}", self.matches));
        self
    }

    pub fn count(&self) -> String {
        self.counted.clone().unwrap_or_else(|| format!("select count(*) from {} where {}", self.from, self.matches))
    }

    pub fn select(&self, columns: &str) -> String {
        let limit = self.parameters + self.order.len() + 1;
        let places = self.places();
        format!(
            "select {columns}{places} from {} where {} and {} order by {} limit ${limit}::bigint offset ${}::bigint",
            self.from,
            self.matches,
            place::behind(&self.order, self.parameters + 1),
            place::order(&self.order),
            limit + 1
        )
    }

    fn places(&self) -> String {
        self.order.iter().enumerate().map(|(n, key)| format!(", {} as place_{n}", key.as_number())).collect()
    }

    /// The same page, read value by value where that is asked for.
    pub fn select_by(&self, columns: &str, each: Option<&Each>) -> String {
        let Some(Each { values, column, id }) = each else { return self.select(columns) };
        let Self { from, matches, .. } = self;
        let (behind, order) = (place::behind(&self.order, self.parameters + 1), place::order(&self.order));
        let (limit, offset) = (self.parameters + self.order.len() + 1, self.parameters + self.order.len() + 2);
        let keys: String = self.order.iter().enumerate().map(|(n, key)| format!(", {} as key_{n}", key.sql)).collect();
        let direction = |key: &Key| if key.descending { " desc" } else { "" };
        let by_keys = self.order.iter().enumerate().map(|(n, key)| format!("key_{n}{}", direction(key))).collect::<Vec<_>>().join(", ");
        format!(
            "select {columns}{} from {from} where {id} = any (array(select found_id from (select distinct value from ({values}) given (value)) wanted \
             cross join lateral (select {id} as found_id{keys} from {from} where {column} = wanted.value and {matches} and {behind} \
             order by {order} limit ${limit}::bigint + ${offset}::bigint) found order by {by_keys} limit ${limit} offset ${offset})) order by {order}",
            self.places()
        )
    }

    /// What a place in this list in this order is marked with.
    fn mark(&self) -> u32 {
        crc32fast::hash(format!("{} {}", self.from, place::order(&self.order)).as_bytes())
    }

    pub fn place_of(&self, row: &Row) -> Result<Place, tokio_postgres::Error> {
        let mut values = [0; KEYS_MAX];
        for (n, value) in values.iter_mut().enumerate().take(self.order.len()) {
            *value = row.try_get(format!("place_{n}").as_str())?;
        }
        Ok(Place { list: self.mark(), values })
    }

    /// The values of a place, as parameters.
    pub fn after(&self, place: Option<Place>) -> Result<Vec<Box<dyn ToSql + Sync + Send>>, NotAPlace> {
        let values = place.map(|place| if place.list == self.mark() { Ok(place.values) } else { Err(NotAPlace) }).transpose()?;
        let value = |(n, key): (usize, &Key)| -> Result<Box<dyn ToSql + Sync + Send>, NotAPlace> {
            let value = values.map(|values| values[n]);
            Ok(match key.of {
                KeyType::Number => Box::new(value),
                KeyType::Instant => {
                    let instant = |micros| Timestamp::from_timestamp_micros(micros).filter(|at| storable::can_be_stored(*at));
                    Box::new(value.map(|micros| instant(micros).ok_or(NotAPlace)).transpose()?)
                }
            })
        };
        self.order.iter().enumerate().map(value).collect()
    }
}

/// An id that is compared as text: what is no number is the id of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AsNumber {
    NotGiven,
    None,
    Of(i64),
}

impl AsNumber {
    pub fn of(text: Option<&str>) -> Self {
        // As text, `007` and `+7` are other texts than `7`.
        let plain = |number: &i64, text: &str| number.to_string() == text;
        match text {
            None => Self::NotGiven,
            Some(text) => text.parse().ok().filter(|number| plain(number, text)).map_or(Self::None, Self::Of),
        }
    }

    pub fn number(self) -> Option<i64> {
        match self {
            Self::Of(id) => Some(id),
            Self::NotGiven | Self::None => None,
        }
    }
}

/// Parameters with the types that a statement gives them.
pub(super) fn typed<'a>(statement: &str, parameters: &[Parameter<'a>]) -> Vec<(Parameter<'a>, Type)> {
    parameters.iter().copied().zip(parameter_types(statement)).collect()
}

/// Whether a page looks for parts of texts, or for labels.
pub fn looks_for_parts(statement: &str) -> bool {
    statement.contains(" like ") || statement.contains(" @> ")
}

/// The types of a statement's parameters, which each of them is cast to where it stands first.
pub fn parameter_types(statement: &str) -> Vec<Type> {
    let named = |name: &str| match name {
        "bigint" => Type::INT8,
        "bigint[]" => Type::INT8_ARRAY,
        "text" => Type::TEXT,
        "text[]" => Type::TEXT_ARRAY,
        "boolean" => Type::BOOL,
        "timestamptz" => Type::TIMESTAMPTZ,
        other => unreachable!("no list takes a {other}"),
    };
    let cast = |n: usize| {
        let (_, after) = statement.split_once(&format!("${n}::"))?;
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '[' && c != ']').unwrap_or(after.len());
        Some(named(&after[..end]))
    };
    (1..).map_while(cast).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_and_offset_follow_the_filters() {
        let order = vec![Key::up(KeyType::Number, "id")];
        let query = ListQuery { from: "t", matches: "$1::bigint is null".into(), order, parameters: 1, counted: None, home: Home::Site };
        assert!(
            query.select("id").ends_with("and ($2::bigint is null or (id) > ($2::bigint)) order by id limit $3::bigint offset $4::bigint")
        );
        assert!(!query.count().contains("$2"));
        let each = Each { values: "select 7", column: "of", id: "id" };
        let by_value = query.select_by("id", Some(&each));
        assert!(by_value.contains("where of = wanted.value and $1::bigint is null and ($2::bigint is null"), "{by_value}");
        assert!(by_value.ends_with("order by key_0 limit $3 offset $4)) order by id"), "{by_value}");
    }
}
