//! Batches.

use super::error::ReadError;
use super::home::Home;
use super::list::{AsNumber, ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::batch::BatchStatus;
use crate::domain::{BatchId, Scope};
use crate::projections::rows::production::BatchRow;

row! {
    BatchShown of BatchRow as "b" {
        organization_name: Option<String> = "g.name",
    }
}

/// Ids are compared as text: one that is no number finds nothing.
#[derive(Clone, Debug, Default)]
pub struct BatchFilter {
    pub order_id: Option<String>,
    pub station_id: Option<String>,
    pub organization_id: Option<String>,
    pub scene_id: Option<String>,
    pub device_id: Option<String>,
    pub collector_operator_id: Option<String>,
    pub status: Option<BatchStatus>,
}

const FROM: &str = "batches b left join organizations g on g.id = b.organization_id";

const HOME: Home = Home::Organization { factory: "g.factory_id", organization: "b.organization_id" };

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: "($1::bigint is null or b.order_id = $1) and ($2::bigint is null or b.station_id = $2) \
                  and ($3::bigint is null or b.organization_id = $3) \
                  and ($4::bigint is null or b.order_id = any (array(select o.id from orders o where o.scene_id = $4))) \
                  and ($5::text is null or b.station_id = any (array(select w.id from stations w where comparable(w.robot_serial) = comparable($5)))) \
                  and ($6::text is null or b.station_id = any \
                      (array(select w.id from stations w where comparable(w.collector_operator_id) = comparable($6)))) \
                  and ($7::text is null or b.status = $7)"
            .into(),
        order: vec![Key::down(KeyType::Number, "b.id")],
        parameters: 7,
        counted: None,
        home: HOME,
    }
}

fn get() -> String {
    format!("select {} from {FROM} where b.id = $1", BatchShown::columns())
}

impl Reads {
    pub async fn batch(&self, scope: &Scope, id: BatchId) -> Result<Option<BatchShown>, ReadError> {
        self.seen(scope, HOME, get(), &[&id]).await
    }

    pub async fn batches(&self, scope: &Scope, filter: &BatchFilter, page: Page) -> Result<Listed<BatchShown>, ReadError> {
        let f = filter;
        let ids = [&f.order_id, &f.station_id, &f.organization_id, &f.scene_id].map(|text| AsNumber::of(text.as_deref()));
        if ids.contains(&AsNumber::None) {
            return Ok(Listed::NOTHING);
        }
        let [order, station, organization, scene] = ids.map(AsNumber::number);
        let (device, operator) = (&f.device_id, &f.collector_operator_id);
        self.listed(scope, list(), &[&order, &station, &organization, &scene, device, operator, &f.status], page).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("batch", get()), ("batches", list().select(&BatchShown::columns())), ("batches, counted", list().count())]
}
