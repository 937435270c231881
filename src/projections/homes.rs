//! To which factory and organization a stream belongs, as its first event says: it is there also when the thing itself is gone. What may move,
//! a scene or a robot, belongs where it is now.

use crate::domain::{FactoryId, OrganizationId};
use crate::eventstore::{StoreError, Transaction};

/// Where a stream belongs; `None`: to no factory.
pub type StreamHome = Option<(FactoryId, Option<OrganizationId>)>;

/// A device belongs where its robot does, a subscene where its scene does.
pub const HOMES: &str = "
select coalesce(case s.kind when 'scene' then (select p.factory_id from scenes p where p.id = s.id::bigint)
                            when 'robot' then (select r.factory_id from robots r where r.id = s.id::bigint) end,
                (c.content ->> 'factory_id')::bigint,
                (select o.factory_id from organizations o where o.id = (c.content ->> 'organization_id')::bigint),
                case s.kind when 'factory' then s.id::bigint
                            when 'subscene' then (select p.factory_id from scenes p where p.id = (c.content ->> 'scene_id')::bigint)
                            when 'device' then (select r.factory_id from robots r where r.device_id = s.id)
                            when 'recorder_token' then (select r.factory_id from robots r where r.id = s.id::bigint) end) as factory,
       case s.kind when 'organization' then s.id::bigint else (c.content ->> 'organization_id')::bigint end as organization
from unnest($1::text[], $2::text[]) with ordinality s (kind, id, n)
left join events f on f.aggregate_type = s.kind and f.aggregate_id = s.id and f.sequence = 1
left join lateral (select e.value as content from jsonb_each(f.payload) e limit 1) c on true
order by s.n";

/// Of each of these streams, by kind and id. One round trip.
pub async fn homes_of(tx: &mut Transaction, kinds: &[&str], ids: &[&str]) -> Result<Vec<StreamHome>, StoreError> {
    let rows = tx.query(HOMES, &[&kinds, &ids]).await?;
    let home = |row: &tokio_postgres::Row| row.get::<_, Option<FactoryId>>(0).map(|factory| (factory, row.get(1)));
    Ok(rows.iter().map(home).collect())
}
