//! Requests: how each stands, and those whose caller had given up when the outcome came.

use serde_json::Value;

use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::device::RecorderAction;
use crate::domain::request::RequestStatus;
use crate::domain::{CollectorId, DeviceId, PublicTaskId, Scope, Timestamp};
use crate::projections::rows::device::CommandStatus;

row! {
    /// What became of a request.
    OutcomeShown {
        id: String = "k.id",
        action: RecorderAction = "k.action",
        status: RequestStatus = "s.status",
        message: Option<String> = "k.message",
        data: Option<Value> = "k.data",
    }
}

row! {
    RequestShown {
        id: String = "k.id",
        asker: String = "r.asker",
        device_id: DeviceId = "r.device_id",
        asked_at: Timestamp = "r.asked_at",
        given_up_at: Option<Timestamp> = "r.given_up_at",
        action: RecorderAction = "k.action",
        task_id: Option<PublicTaskId> = "k.task_id",
        status: RequestStatus = "s.status",
        message: Option<String> = "k.message",
        data: Option<Value> = "k.data",
        settled_at: Option<Timestamp> = "case when k.status <> 'requested' then k.updated_at end",
        late_status: Option<CommandStatus> = "r.late_status",
        late_message: Option<String> = "r.late_message",
        late_data: Option<Value> = "r.late_data",
        late_at: Option<Timestamp> = "r.late_at",
    }
}

row! {
    /// An outcome that its caller did not hear.
    AbandonedShown {
        id: String = "k.id",
        asker: String = "r.asker",
        device_id: DeviceId = "r.device_id",
        asked_at: Timestamp = "r.asked_at",
        given_up_at: Timestamp = "r.given_up_at",
        action: RecorderAction = "k.action",
        task_id: Option<PublicTaskId> = "k.task_id",
        outcome: CommandStatus = "coalesce(r.late_status, k.status)",
        message: Option<String> = "case when r.late_at is null then k.message else r.late_message end",
        data: Option<Value> = "case when r.late_at is null then k.data else r.late_data end",
        outcome_at: Timestamp = "coalesce(r.late_at, k.updated_at)",
    }
}

impl RequestShown {
    /// What became of it.
    pub fn outcome(&self) -> OutcomeShown {
        let (message, data) = (self.message.clone(), self.data.clone());
        OutcomeShown { id: self.id.clone(), action: self.action, status: self.status, message, data }
    }
}

/// The one place that says how the outcome of a command makes the status of a request.
macro_rules! with_status {
    ($from:literal) => {
        concat!(
            $from,
            " cross join lateral (select case k.status
                when 'requested' then 'pending' when 'succeeded' then 'succeeded' when 'refused' then 'refused'
                when 'not_sent' then case k.data ->> 'cause' when 'not_permitted' then 'right_lost' when 'overloaded' then 'overloaded'
                                                             else 'not_sent' end
                else case when coalesce(k.data ->> 'cause', 'timed_out') = 'timed_out' then 'timed_out' else 'unknown' end end as status) s"
        )
    };
}

const FROM: &str = with_status!("requests r join device_commands k on k.id = r.id");

/// Whether the caller of a request heard no outcome, and there is one.
macro_rules! abandoned {
    () => {
        "r.given_up_at is not null and (r.late_at is not null or k.status in ('succeeded', 'refused', 'not_sent'))"
    };
}

/// How many executions are abandoned; read from an index of those that were given up.
pub const ABANDONED_COUNT: &str = concat!("select count(*) from requests r join device_commands k on k.id = r.id where ", abandoned!());

/// A request is where its robot is.
const HOME: Home = Home::Factory("(select b.factory_id from robots b where b.device_id = r.device_id)");

const NEWEST: &str = "r.request_no";

fn outcome() -> String {
    format!("select {} from {} where k.id = $1", OutcomeShown::columns(), with_status!("device_commands k"))
}

fn get() -> String {
    format!("select {} from {FROM} where r.id = $1 and ($2::text is null or r.asker = $2)", RequestShown::columns())
}

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: "($1::text is null or s.status = $1) and ($2::text is null or r.device_id = $2) and ($3::text is null or r.asker = $3)
                  and ($4::timestamptz is null or r.asked_at >= $4)"
            .into(),
        order: vec![Key::down(KeyType::Number, NEWEST)],
        parameters: 4,
        counted: None,
        home: HOME,
    }
}

fn abandoned() -> ListQuery {
    ListQuery {
        from: "requests r join device_commands k on k.id = r.id",
        matches: concat!(
            abandoned!(),
            " and ($1::text is null or coalesce(r.late_status, k.status) = $1) and ($2::text is null or r.device_id = $2)
              and ($3::text is null or r.asker = $3) and ($4::timestamptz is null or r.asked_at >= $4)"
        )
        .into(),
        order: vec![Key::down(KeyType::Number, NEWEST)],
        parameters: 4,
        counted: None,
        home: HOME,
    }
}

const IS_AT_ROBOT: &str = "select count(*) from stations w where w.data_collector_id = $1 and w.is_current and w.robot_serial = $2";

/// Which requests; `S` is how they stand, or how they ended.
#[derive(Clone, Debug)]
pub struct RequestFilter<S> {
    pub status: Option<S>,
    pub device_id: Option<String>,
    pub asker: Option<String>,
    pub since: Option<Timestamp>,
}

impl Reads {
    /// What became of a request, of any person.
    pub async fn outcome(&self, id: &str) -> Result<Option<OutcomeShown>, ReadError> {
        self.row(&outcome(), &[&id]).await
    }

    /// A request; `asker`: only where it is theirs.
    pub async fn request(&self, scope: &Scope, id: &str, asker: Option<&str>) -> Result<Option<RequestShown>, ReadError> {
        self.seen(scope, HOME, get(), &[&id, &asker]).await
    }

    /// The newest first.
    pub async fn requests(
        &self,
        scope: &Scope,
        filter: &RequestFilter<RequestStatus>,
        page: Page,
    ) -> Result<Listed<RequestShown>, ReadError> {
        self.listed(scope, list(), &[&filter.status, &filter.device_id, &filter.asker, &filter.since], page).await
    }

    /// Outcomes that came when the caller had given up; what was asked for last comes first.
    pub async fn abandoned(
        &self,
        scope: &Scope,
        filter: &RequestFilter<CommandStatus>,
        page: Page,
    ) -> Result<Listed<AbandonedShown>, ReadError> {
        self.listed(scope, abandoned(), &[&filter.status, &filter.device_id, &filter.asker, &filter.since], page).await
    }

    /// Whether the robot is that of the data collector's station now.
    pub async fn is_at_robot(&self, collector: CollectorId, device: &DeviceId) -> Result<bool, ReadError> {
        Ok(self.number(IS_AT_ROBOT, &[&collector, &device]).await? > 0)
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("outcome of a request", outcome()),
        ("request", get()),
        ("requests", list().select(&RequestShown::columns())),
        ("requests, counted", list().count()),
        ("abandoned executions", abandoned().select(&AbandonedShown::columns())),
        ("abandoned executions, counted", abandoned().count()),
        ("all abandoned executions, counted", ABANDONED_COUNT.to_owned()),
        ("data collector beside a robot", IS_AT_ROBOT.to_owned()),
    ]
}
