//! Rows of inspectors.

use serde_json::Value;

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::episode::Level;
use crate::domain::inspector::{Inspector, InspectorStatus};
use crate::domain::{InspectorId, OrganizationId};

table! {
    InspectorRow in "inspectors" by number InspectorId {
        organization_id: OrganizationId,
        certification_level: Level,
        status: InspectorStatus,
        metadata: Value;
        of the person "inspector" by id name from name else "forgotten person ", inspector_id from operator_id else "forgotten-", email from email
    }
}

impl ReadModel for Inspector {
    type Row = InspectorRow;

    fn shown(state: &Self) -> Shown<InspectorRow> {
        let Self::Known(terms) = state else { return Shown::Gone };
        Shown::Row(InspectorRow {
            organization_id: terms.organization_id,
            certification_level: terms.certification_level,
            status: terms.status,
            metadata: terms.metadata.clone(),
            name: None,
            inspector_id: None,
            email: None,
        })
    }
}
