//! How every query is run: on a connection of the pool, and once more where a session could not.

use std::sync::Arc;

use deadpool_postgres::{Object, Pool, Transaction};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{IsolationLevel, Row};

use super::error::ReadError;
use super::home::Home;
use super::list::{Each, ListQuery, Listed, Page, Parameter, WALKED_BY_VALUE_MAX, looks_for_parts, typed};
use super::row::FromRow;
use crate::domain::Scope;
use crate::pg::plans::{Answered, Planned, by_indexes, pinned};
use crate::projections::past::Past;

/// Asks, and once more where the session could not: it has left the pool then.
macro_rules! once_more {
    ($question:expr) => {
        match $question {
            Err($crate::projections::reads::error::ReadError::Unfit(_)) => $question,
            answer => answer,
        }
    };
}
pub(super) use once_more;

/// The queries, over a pool of connections.
#[derive(Clone)]
pub struct Reads {
    pool: Pool,
    /// What they are asked of in place of the live rows.
    past: Option<Arc<Past>>,
}

impl Reads {
    pub fn new(pool: Pool) -> Self {
        Self { pool, past: None }
    }

    /// The same queries, of the past.
    pub(super) fn of_past(&self, past: Past) -> Self {
        Self { pool: self.pool.clone(), past: Some(Arc::new(past)) }
    }

    /// For what is read as it is now: nothing else would be answered with it by mistake.
    pub(super) async fn connection(&self) -> Result<Object, ReadError> {
        if self.past.is_some() {
            return Err(ReadError::OfNow);
        }
        Ok(self.pool.get().await?)
    }

    pub(super) async fn rows<R: FromRow>(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<R>, ReadError> {
        let rows = self.query(statement, parameters).await?;
        Ok(rows.iter().map(R::from_row).collect::<Result<_, _>>()?)
    }

    pub(super) async fn query(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, ReadError> {
        if let Some(past) = &self.past {
            return self.query_past(past, statement, parameters).await;
        }
        let once = async || {
            let client = self.connection().await?;
            let prepared = client.prepare_cached(statement).await?;
            Ok(client.query(&prepared, parameters).await?)
        };
        once_more!(once().await)
    }

    /// Prepared each time: what a statement becomes is asked once.
    async fn query_past(&self, past: &Past, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, ReadError> {
        let (statement, rows) = past.asked(statement, parameters.len());
        let mut parameters = parameters.to_vec();
        parameters.push(&rows);
        let once = async || {
            let client = self.pool.get().await?;
            let prepared = client.prepare(&statement).await?;
            Ok(client.query(&prepared, &parameters).await?)
        };
        once_more!(once().await)
    }

    /// The same, planned for these parameters.
    pub(super) async fn query_planned(&self, statement: &str, parameters: &[(Parameter<'_>, Type)]) -> Result<Vec<Row>, ReadError> {
        let once = async || Ok(self.connection().await?.query_typed(statement, parameters).await?);
        once_more!(once().await)
    }

    /// The same, held to indexes whatever Postgres knows of the tables.
    pub(super) async fn query_pinned(&self, statement: &str, parameters: &[(Parameter<'_>, Type)]) -> Result<Vec<Row>, ReadError> {
        let once = async || {
            let client = self.connection().await?;
            Ok(pinned(&client, Answered::Visible, Planned::EachTime, client.query_typed(statement, parameters)).await?)
        };
        once_more!(once().await)
    }

    /// The same for what is planned once: its parameters change nothing about how it is answered.
    pub(super) async fn rows_planned_once<R: FromRow>(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<R>, ReadError> {
        let once = async || {
            let client = self.connection().await?;
            let prepared = client.prepare_cached(statement).await?;
            Ok(pinned(&client, Answered::Visible, Planned::Once, client.query(&prepared, parameters)).await?)
        };
        let rows = once_more!(once().await)?;
        Ok(rows.iter().map(R::from_row).collect::<Result<_, _>>()?)
    }

    pub(super) async fn row<R: FromRow>(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Option<R>, ReadError> {
        Ok(self.rows(statement, parameters).await?.pop())
    }

    /// The row, where the scope contains it. The statement ends with its conditions.
    pub(super) async fn seen<R: FromRow>(
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
    pub(super) async fn number(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<i64, ReadError> {
        let rows = self.query(statement, parameters).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.try_get(0))?)
    }

    /// Rows, planned for these parameters.
    pub(super) async fn rows_planned<R: FromRow>(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<R>, ReadError> {
        let rows = self.query_planned(statement, &typed(statement, parameters)).await?;
        Ok(rows.iter().map(R::from_row).collect::<Result<_, _>>()?)
    }

    /// One row, planned for these parameters.
    pub(super) async fn row_planned<R: FromRow>(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Option<R>, ReadError> {
        let rows = self.query_planned(statement, &typed(statement, parameters)).await?;
        Ok(rows.first().map(R::from_row).transpose()?)
    }

    /// What the scope contains of a list.
    pub(super) async fn listed<R: FromRow>(
        &self,
        scope: &Scope,
        query: ListQuery,
        parameters: &[Parameter<'_>],
        page: Page,
    ) -> Result<Listed<R>, ReadError> {
        self.listed_by(scope, query, None, parameters, page).await
    }

    /// The same, read value by value.
    pub(super) async fn listed_by<R: FromRow>(
        &self,
        scope: &Scope,
        mut query: ListQuery,
        each: Option<Each>,
        parameters: &[Parameter<'_>],
        page: Page,
    ) -> Result<Listed<R>, ReadError> {
        let each = each.filter(|_| page.offset <= WALKED_BY_VALUE_MAX);
        let within = query.home.within(scope, parameters.len());
        if !within.values.is_empty() {
            query.matches += &within.sql;
            query.parameters += within.values.len();
            query.counted = None;
        }
        let parameters = with(parameters, &within.values);
        once_more!(self.listed_once(&query, each.as_ref(), &parameters, page).await)
    }

    async fn listed_once<R: FromRow>(
        &self,
        query: &ListQuery,
        each: Option<&Each>,
        parameters: &[Parameter<'_>],
        page: Page,
    ) -> Result<Listed<R>, ReadError> {
        let (count, select) = (query.count(), query.select_by(&R::columns(), each.filter(|_| self.past.is_none())));
        let after = query.after(page.after)?;
        // One more tells whether there is a next page.
        let limit = page.limit.map(|limit| limit.saturating_add(1));
        let mut with_page = with(parameters, &after);
        with_page.push(&limit);
        with_page.push(&page.offset);
        if self.past.is_some() {
            let total = self.number(&count, parameters).await?;
            return listed_of(query, &self.query(&select, &with_page).await?, total, page);
        }
        let client = self.connection().await?;
        // Planned each time, for the filters that are set: a plan for all of them would use no index.
        let (of_count, of_select) = (typed(&count, parameters), typed(&select, &with_page));
        // Sent in this order without waiting in between: what is counted may be all there is, and is read as Postgres likes.
        let (count, rows) = tokio::join!(
            biased;
            client.query_typed(&count, &of_count),
            by_indexes(&client, looks_for_parts(&select), client.query_typed(&select, &of_select))
        );
        let (count, rows) = (count?, rows?);
        let total = count.first().map_or(Ok(0), |row| row.try_get(0))?;
        listed_of(query, &rows, total, page)
    }
}

/// A page of these rows, of which the last one only tells that there is more.
fn listed_of<R: FromRow>(query: &ListQuery, rows: &[Row], total: i64, page: Page) -> Result<Listed<R>, ReadError> {
    let most = page.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let (rows, more) = rows.split_at(rows.len().min(most));
    let last = rows.last().filter(|_| !more.is_empty());
    let next = last.map(|row| query.place_of(row)).transpose()?;
    Ok(Listed { rows: rows.iter().map(R::from_row).collect::<Result<_, _>>()?, total, next })
}

/// What only reads, of one moment.
pub(super) async fn one_moment(client: &mut Object) -> Result<Transaction<'_>, ReadError> {
    Ok(client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?)
}

/// Rows of a moment, planned for these parameters.
pub(super) async fn rows_in<R: FromRow>(
    moment: &Transaction<'_>,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<R>, ReadError> {
    let rows = moment.query_typed(statement, &typed(statement, parameters)).await?;
    Ok(rows.iter().map(R::from_row).collect::<Result<_, _>>()?)
}

/// One number of a moment; 0 where there is no row.
pub(super) async fn number_in(moment: &Transaction<'_>, statement: &str, parameters: &[Parameter<'_>]) -> Result<i64, ReadError> {
    let rows = moment.query_typed(statement, &typed(statement, parameters)).await?;
    Ok(rows.first().map_or(Ok(Some(0)), |row| row.try_get::<_, Option<i64>>(0))?.unwrap_or(0))
}

/// Parameters, and further ones.
pub(super) fn with<'a>(parameters: &[Parameter<'a>], further: &'a [Box<dyn ToSql + Sync + Send>]) -> Vec<Parameter<'a>> {
    parameters.iter().copied().chain(further.iter().map(|value| &**value as Parameter<'a>)).collect()
}
