//! How values of the domain are read from columns: ids from numbers, words of closed lists from texts.

use tokio_postgres::types::{FromSql, Type, accepts};

use crate::domain::device::{LinkKind, RecorderAction, RecorderState};
use crate::domain::episode::QaStatus;
use crate::domain::registry::{CollectorStatus, RobotStatus};
use crate::domain::task::TaskStatus;
use crate::domain::{DeviceId, PublicTaskId, catalog};
use crate::projections::rows::device::CommandStatus;

type Fault = Box<dyn std::error::Error + Sync + Send>;

macro_rules! words {
    ($($word:ty),+ $(,)?) => {$(
        impl<'a> FromSql<'a> for $word {
            fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
                let text = <&str>::from_sql(of, raw)?;
                catalog::parse(&<$word>::ALL, text).ok_or_else(|| format!("{text:?} is no {}", stringify!($word)).into())
            }
            accepts!(TEXT);
        }
    )+};
}

words! { CollectorStatus, CommandStatus, LinkKind, QaStatus, RecorderAction, RecorderState, RobotStatus, TaskStatus }

macro_rules! texts {
    ($($id:ty),+) => {$(
        impl<'a> FromSql<'a> for $id {
            fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
                Ok(Self::parse(<&str>::from_sql(of, raw)?)?)
            }
            accepts!(TEXT);
        }
    )+};
}

texts! { DeviceId, PublicTaskId }
