//! How values of the domain are read from columns and given to statements: ids as numbers, names and words of closed
//! lists as texts.

use bytes::BytesMut;
use serde::Serialize;
use tokio_postgres::types::{FromSql, IsNull, Json, ToSql, Type, accepts, to_sql_checked};

use crate::domain::access::{AccessKind, LoginMethod};
use crate::domain::account::AccountStatus;
use crate::domain::batch::BatchStatus;
use crate::domain::bulk_run::{BulkAction, BulkEnd, ItemOutcome};
use crate::domain::device::{Contest, LinkKind, RecorderAction, RecorderState};
use crate::domain::episode::{
    CopyPlace, Decision, DecisionEffect, EdgeCopyStatus, InspectionCause, Level, QaStatus, RunMode, SalvageFault, SalvageState,
    TellingCheck,
};
use crate::domain::gaps::GapCause;
use crate::domain::ids::{self, numeric_ids};
use crate::domain::inspector::InspectorStatus;
use crate::domain::judgement::{OutsideReport, Suite, Verdict};
use crate::domain::letter::{DeadReason, Resolution};
use crate::domain::operator_word::OperatorWord;
use crate::domain::order::{OrderStatus, Priority};
use crate::domain::outside_job::{JobState, NotDoneCause};
use crate::domain::qa_suite::{ScopeKind, SuiteState};
use crate::domain::reference::Reference;
use crate::domain::registry::{CollectorStatus, RobotStatus};
use crate::domain::request::RequestStatus;
use crate::domain::salvage::Salvaged;
use crate::domain::station::StationStatus;
use crate::domain::subscription::{DeliveryTerms, EndCause, PauseCause};
use crate::domain::sync::{ChainStatus, GivenUpCause, SyncFault, SyncReason};
use crate::domain::task::TaskStatus;
use crate::domain::template::TemplateFile;
use crate::domain::{AccountRole, DeviceId, PublicTaskId};
use crate::projections::rows::device::CommandStatus;

type Fault = Box<dyn std::error::Error + Sync + Send>;

macro_rules! numbers {
    ($($(#[$doc:meta])* $id:ident),+ $(,)?) => {$(
        impl<'a> FromSql<'a> for ids::$id {
            fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
                i64::from_sql(of, raw).map(Self)
            }
            accepts!(INT8);
        }

        impl ToSql for ids::$id {
            fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
                self.0.to_sql(of, out)
            }
            accepts!(INT8);
            to_sql_checked!();
        }
    )+};
}

macro_rules! texts {
    ($($text:ident),+ $(,)?) => {$(
        impl<'a> FromSql<'a> for $text {
            fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
                let text = <&str>::from_sql(of, raw)?;
                text.parse().map_err(|error| format!("{text:?} is no {}: {error}", stringify!($text)).into())
            }
            accepts!(TEXT);
        }

        impl ToSql for $text {
            fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
                self.as_str().to_sql(of, out)
            }
            accepts!(TEXT);
            to_sql_checked!();
        }
    )+};
}

numeric_ids!(numbers);

texts! {
    DeviceId, PublicTaskId,
    AccessKind, AccountRole, AccountStatus, BatchStatus, BulkAction, BulkEnd, ChainStatus, CollectorStatus, CommandStatus, DeadReason, CopyPlace, Decision, DecisionEffect, EdgeCopyStatus, EndCause, GapCause, GivenUpCause, InspectionCause, InspectorStatus, ItemOutcome, JobState, Level, LinkKind, LoginMethod, NotDoneCause, OrderStatus, PauseCause, Priority, QaStatus,
    RecorderAction, RecorderState, RequestStatus, Resolution, RobotStatus, RunMode, SalvageFault, SalvageState, ScopeKind, StationStatus, SuiteState, SyncFault, SyncReason, TaskStatus, TemplateFile, Verdict,
}

macro_rules! objects {
    ($($object:ident),+ $(,)?) => {$(
        impl<'a> FromSql<'a> for $object {
            fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
                Ok(Json::<Self>::from_sql(of, raw)?.0)
            }
            accepts!(JSONB);
        }
    )+};
}

objects! { Contest, DeliveryTerms, OperatorWord, OutsideReport, Reference, Salvaged, Suite, TellingCheck }

/// A number of bytes or messages: a `bigint` that is never below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Count(pub u64);

impl<'a> FromSql<'a> for Count {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(Self(u64::try_from(i64::from_sql(of, raw)?)?))
    }
    accepts!(INT8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_column_should_not_hold_is_an_error() {
        assert_eq!(OrderStatus::from_sql(&Type::TEXT, b"in_progress").unwrap(), OrderStatus::InProgress);
        let unknown = OrderStatus::from_sql(&Type::TEXT, b"sold").unwrap_err().to_string();
        assert!(unknown.starts_with("\"sold\" is no OrderStatus: must be one of created,"), "{unknown}");
        assert!(DeviceId::from_sql(&Type::TEXT, b"../x").is_err());
        assert_eq!(Count::from_sql(&Type::INT8, &7_i64.to_be_bytes()).unwrap(), Count(7));
        assert!(Count::from_sql(&Type::INT8, &(-1_i64).to_be_bytes()).is_err());
    }
}
