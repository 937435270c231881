//! What the edges read: rows of the read models, by id and by filter.
//!
//! Each resource has one file with its statements. A statement never changes its text
//! with the filters given: a filter that is not set is `null` and matches everything,
//! so every statement can be prepared, pinned and tested as it stands. What belongs to a factory is
//! asked for with the caller's scope; one that is not everything adds a condition, the same everywhere ([`home`]).

pub mod batches;
pub mod breakdown;
pub mod credentials;
pub mod device_changes;
pub mod devices;
pub mod episodes;
mod home;
pub mod log;
pub mod objects;
pub mod orders;
mod place;
pub mod registry;
pub mod site;
pub mod stations;
pub mod tasks;
pub mod templates;

use deadpool_postgres::{Object, Pool, PoolError};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::domain::{Scope, Timestamp, storable};
use crate::pg::{Fault, PgError, fault, said};
use crate::telemetry::chain;
use home::Home;
use place::{KEYS_MAX, Key, KeyType};
pub use place::{NotAPlace, Place};

/// The queries, over a pool of connections.
#[derive(Clone)]
pub struct Reads {
    pool: Pool,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No connection, or it broke: asking again later may work.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// This session could not, or was closed before it did. Another one was asked, and could not either.
    #[error("the database session cannot read it: {0}")]
    Unfit(String),
    /// A value beyond what a query takes.
    #[error("a value cannot be asked for: {0}")]
    Unstorable(String),
    #[error("a query failed")]
    Failed(#[source] tokio_postgres::Error),
    /// It is one of another list, or of an older version's order.
    #[error(transparent)]
    NotAPlace(#[from] NotAPlace),
}

impl From<PoolError> for ReadError {
    fn from(error: PoolError) -> Self {
        Self::Unavailable(chain(&PgError::from(error)))
    }
}

impl From<tokio_postgres::Error> for ReadError {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = || said(&error);
        match fault(&error) {
            Fault::Value => Self::Unstorable(text()),
            Fault::Unfit => Self::Unfit(text()),
            // It may have been given up a moment before it was used; what only reads is asked again.
            Fault::Unavailable if error.is_closed() => Self::Unfit(text()),
            // A read that ran into the changes of others may be asked again, too.
            Fault::Unavailable | Fault::Serialization | Fault::Deadlock => Self::Unavailable(text()),
            Fault::Unique { .. } | Fault::ForeignKey { .. } | Fault::Check { .. } | Fault::Other => Self::Failed(error),
        }
    }
}

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

    pub fn map<S>(self, change: impl FnMut(R) -> S) -> Listed<S> {
        Listed { rows: self.rows.into_iter().map(change).collect(), total: self.total, next: self.next }
    }
}

type Parameter<'a> = &'a (dyn ToSql + Sync);

impl Reads {
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn connection(&self) -> Result<Object, ReadError> {
        Ok(self.pool.get().await?)
    }

    async fn rows<R: FromRow>(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<R>, ReadError> {
        let rows = self.query(statement, parameters).await?;
        Ok(rows.iter().map(R::from_row).collect::<Result<_, _>>()?)
    }

    /// Once more where the session could not: it has left the pool then.
    async fn query(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, ReadError> {
        match self.query_once(statement, parameters).await {
            Err(ReadError::Unfit(_)) => self.query_once(statement, parameters).await,
            answer => answer,
        }
    }

    async fn query_once(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, ReadError> {
        let client = self.connection().await?;
        let prepared = client.prepare_cached(statement).await?;
        Ok(client.query(&prepared, parameters).await?)
    }

    async fn row<R: FromRow>(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Option<R>, ReadError> {
        Ok(self.rows(statement, parameters).await?.pop())
    }

    /// The row, where the scope contains it. The statement ends with its conditions.
    async fn seen<R: FromRow>(
        &self,
        scope: &Scope,
        home: Home,
        statement: String,
        parameters: &[Parameter<'_>],
    ) -> Result<Option<R>, ReadError> {
        let within = home.within(scope, parameters.len());
        self.row(&(statement + &within.sql), &with(parameters, &within.values)).await
    }

    /// One number, where a statement answers nothing else.
    async fn number(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<i64, ReadError> {
        let rows = self.query(statement, parameters).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.try_get(0))?)
    }

    /// What the scope contains of a list.
    async fn listed<R: FromRow>(
        &self,
        scope: &Scope,
        mut query: ListQuery,
        parameters: &[Parameter<'_>],
        page: Page,
    ) -> Result<Listed<R>, ReadError> {
        let within = query.home.within(scope, parameters.len());
        if !within.values.is_empty() {
            query.matches += &within.sql;
            query.parameters += within.values.len();
            query.counted = None;
        }
        let parameters = with(parameters, &within.values);
        match self.listed_once(&query, &parameters, page).await {
            Err(ReadError::Unfit(_)) => self.listed_once(&query, &parameters, page).await,
            listed => listed,
        }
    }

    async fn listed_once<R: FromRow>(&self, query: &ListQuery, parameters: &[Parameter<'_>], page: Page) -> Result<Listed<R>, ReadError> {
        let client = self.connection().await?;
        let (count, select) = (query.count(), query.select(R::COLUMNS));
        let after = query.after(page.after)?;
        // One more tells whether there is a next page.
        let limit = page.limit.map(|limit| limit.saturating_add(1));
        let mut with_page = with(parameters, &after);
        with_page.push(&limit);
        with_page.push(&page.offset);
        // Planned each time, for the filters that are set: a plan for all of them would use no index.
        let (of_count, of_select) = (typed(&count, parameters), typed(&select, &with_page));
        let (count, rows) = tokio::try_join!(client.query_typed(&count, &of_count), client.query_typed(&select, &of_select))?;
        let total = count.first().map_or(Ok(0), |row| row.try_get(0))?;
        let most = page.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let (rows, more) = rows.split_at(rows.len().min(most));
        let last = rows.last().filter(|_| !more.is_empty());
        let next = last.map(|row| query.place_of(row)).transpose()?;
        Ok(Listed { rows: rows.iter().map(R::from_row).collect::<Result<_, _>>()?, total, next })
    }
}

/// Parameters, and further ones.
fn with<'a>(parameters: &[Parameter<'a>], further: &'a [Box<dyn ToSql + Sync + Send>]) -> Vec<Parameter<'a>> {
    parameters.iter().copied().chain(further.iter().map(|value| &**value as Parameter<'a>)).collect()
}

/// An id that is compared as text: what is no number is the id of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AsNumber {
    NotGiven,
    None,
    Of(i64),
}

impl AsNumber {
    fn of(text: Option<&str>) -> Self {
        // As text, `007` and `+7` are other texts than `7`.
        let plain = |number: &i64, text: &str| number.to_string() == text;
        match text {
            None => Self::NotGiven,
            Some(text) => text.parse().ok().filter(|number| plain(number, text)).map_or(Self::None, Self::Of),
        }
    }

    fn number(self) -> Option<i64> {
        match self {
            Self::Of(id) => Some(id),
            Self::NotGiven | Self::None => None,
        }
    }
}

/// A row as a value.
trait FromRow: Sized {
    const COLUMNS: &'static str;
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
}

/// A list, as SQL: where rows come from, which ones, in which order.
struct ListQuery {
    from: &'static str,
    matches: String,
    /// The last one tells any two rows apart.
    order: Vec<Key>,
    /// How many parameters `matches` takes; those of the place come after them, then limit and offset.
    parameters: usize,
    /// A faster count of the same, where there is one and everything is seen.
    counted: Option<String>,
    home: Home,
}

impl ListQuery {
    fn count(&self) -> String {
        self.counted.clone().unwrap_or_else(|| format!("select count(*) from {} where {}", self.from, self.matches))
    }

    fn select(&self, columns: &str) -> String {
        let limit = self.parameters + self.order.len() + 1;
        let places: String = self.order.iter().enumerate().map(|(n, key)| format!(", {} as place_{n}", key.as_number())).collect();
        format!(
            "select {columns}{places} from {} where {} and {} order by {} limit ${limit}::bigint offset ${}::bigint",
            self.from,
            self.matches,
            place::behind(&self.order, self.parameters + 1),
            place::order(&self.order),
            limit + 1
        )
    }

    /// What a place in this list in this order is marked with.
    fn mark(&self) -> u32 {
        crc32fast::hash(format!("{} {}", self.from, place::order(&self.order)).as_bytes())
    }

    fn place_of(&self, row: &Row) -> Result<Place, tokio_postgres::Error> {
        let mut values = [0; KEYS_MAX];
        for (n, value) in values.iter_mut().enumerate().take(self.order.len()) {
            *value = row.try_get(format!("place_{n}").as_str())?;
        }
        Ok(Place { list: self.mark(), values })
    }

    /// The values of a place, as parameters.
    fn after(&self, place: Option<Place>) -> Result<Vec<Box<dyn ToSql + Sync + Send>>, NotAPlace> {
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

/// A keyword as SQL: what it matches, and how good a match is. The parameter is the keyword
/// as typed. Ranked: for each field exact, then prefix; then all other hits.
struct Keyword {
    given: String,
    pattern: String,
    matches: String,
    rank: String,
}

/// A list whose good matches come first, and in the order of its own among equal ones.
fn ranked(keyword: &Keyword, then: impl IntoIterator<Item = Key>) -> Vec<Key> {
    std::iter::once(Key::up(KeyType::Number, keyword.rank.as_str())).chain(then).collect()
}

impl Keyword {
    fn over(parameter: usize, fields: &[&str]) -> Self {
        let given = format!("comparable(${parameter}::text)");
        // As in the contract, `%` and `_` act as wildcards; a backslash is only a character.
        let pattern = format!(r"replace({given}, '\', '\\')");
        let mut keyword = Self { given, pattern, matches: String::new(), rank: String::new() };
        let hits: Vec<_> = fields.iter().map(|field| keyword.hits(field)).collect();
        let (given, pattern) = (&keyword.given, &keyword.pattern);
        let mut rank = format!("case when {given} is null then 0");
        for (place, field) in fields.iter().enumerate() {
            rank += &format!(
                " when comparable({field}) = {given} then {} when comparable({field}) like {pattern} || '%' then {}",
                place * 2 + 1,
                place * 2 + 2
            );
        }
        rank += &format!(" else {} end", fields.len() * 2 + 1);
        keyword.matches = format!("({given} is null or {})", hits.join(" or "));
        keyword.rank = rank;
        keyword
    }

    /// Where the keyword is somewhere in the field.
    fn hits(&self, field: &str) -> String {
        format!("comparable({field}) like '%' || {} || '%'", self.pattern)
    }
}

/// Parameters with the types that a statement gives them.
fn typed<'a>(statement: &str, parameters: &[Parameter<'a>]) -> Vec<(Parameter<'a>, Type)> {
    parameters.iter().copied().zip(parameter_types(statement)).collect()
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

/// Declares a row: fields, their types, and the SQL each comes from.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty = $sql:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type),+ }
        impl $crate::projections::reads::FromRow for $name {
            const COLUMNS: &'static str = concat!("true as present" $(, ", ", $sql, " as ", stringify!($field))+);
            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?),+ })
            }
        }
    };
}
use row;

/// Every statement of this module with a name, so that a test can prepare them all.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        batches::statements(),
        breakdown::statements(),
        credentials::statements(),
        device_changes::statements(),
        devices::statements(),
        episodes::statements(),
        log::statements(),
        objects::statements(),
        orders::statements(),
        registry::statements(),
        site::statements(),
        stations::statements(),
        tasks::statements(),
        templates::statements(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_ranked_field_by_field_exact_before_prefix() {
        let keyword = Keyword::over(3, &["a", "b"]);
        assert_eq!(keyword.matches.matches(" like ").count(), 2);
        let exact_b = keyword.rank.find("comparable(b) = ").unwrap();
        let prefix_a = keyword.rank.find("comparable(a) like").unwrap();
        assert!(prefix_a < exact_b, "{}", keyword.rank);
    }

    #[test]
    fn limit_and_offset_follow_the_filters() {
        let order = vec![Key::up(KeyType::Number, "id")];
        let query = ListQuery { from: "t", matches: "$1::bigint is null".into(), order, parameters: 1, counted: None, home: Home::Site };
        assert!(
            query.select("id").ends_with("and ($2::bigint is null or (id) > ($2::bigint)) order by id limit $3::bigint offset $4::bigint")
        );
        assert!(!query.count().contains("$2"));
    }
}
