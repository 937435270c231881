//! Rows of subscriptions.

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::subscription::{DeliveryTerms, EndCause, PauseCause, Subscription};
use crate::domain::{FactoryId, OrganizationId, SubscriptionId};

table! {
    SubscriptionRow in "subscriptions" by number SubscriptionId {
        description: Option<String>,
        origin: String,
        event_types: Vec<String>,
        factory_id: Option<FactoryId>,
        organization_id: Option<OrganizationId>,
        delivery: DeliveryTerms,
        paused: Option<PauseCause>,
        ended: Option<EndCause>,
    }
}

impl ReadModel for Subscription {
    type Row = SubscriptionRow;

    fn shown(state: &Self) -> Shown<SubscriptionRow> {
        let (terms, paused, ended) = match state {
            Self::Absent => return Shown::Gone,
            Self::Standing { terms, paused } => (terms, *paused, None),
            Self::Ended { terms, because } => (terms, None, Some(*because)),
        };
        Shown::Row(SubscriptionRow {
            description: terms.description.clone(),
            origin: terms.origin.clone(),
            event_types: terms.event_types.clone(),
            factory_id: terms.factory_id,
            organization_id: terms.organization_id,
            delivery: terms.delivery.clone(),
            paused,
            ended,
        })
    }
}
