//! Words of closed lists, as they stand in bodies, queries and answers: the description has them from the lists that the
//! code goes by.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::fields::{described_as, field};
use crate::domain::batch::BatchStatus;
use crate::domain::catalog;
use crate::domain::device::LinkKind;
use crate::domain::episode::QaStatus;
use crate::domain::order::{OrderStatus, Priority};
use crate::domain::recorder::{RecorderAction, RecorderState};
use crate::domain::registry::{CollectorStatus, RobotStatus};
use crate::domain::station::StationStatus;
use crate::domain::task::TaskStatus;
use crate::domain::template::TemplateFile;

/// A closed list: every word, and what it stands for.
pub trait Listed: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// A word of such a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<'de, T: Listed> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let words = || T::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        catalog::parse(T::WORDS, &text).map(Self).ok_or_else(|| D::Error::custom(format_args!("must be one of {}", words())))
    }
}

impl<T: Listed> PartialSchema for Word<T> {
    fn schema() -> RefOr<Schema> {
        let words = T::WORDS.iter().map(|(word, _)| *word);
        described_as(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)))
    }
}
field!(Word<T>, T: Listed);

macro_rules! listed {
    ($($word:ident = $kind:ident,)+) => {$(
        impl Listed for $kind {
            const WORDS: &'static [(&'static str, Self)] = &$kind::ALL;
        }
        pub type $word = Word<$kind>;
    )+};
}

listed! {
    PriorityWord = Priority,
    OrderStatusWord = OrderStatus,
    BatchStatusWord = BatchStatus,
    TaskStatusWord = TaskStatus,
    QaStatusWord = QaStatus,
    RobotStatusWord = RobotStatus,
    CollectorStatusWord = CollectorStatus,
    StationStatusWord = StationStatus,
    RecorderStateWord = RecorderState,
    RecorderActionWord = RecorderAction,
    LinkWord = LinkKind,
    TemplateFileWord = TemplateFile,
}

/// Lists that only the edge knows.
macro_rules! words {
    ($($name:ident = $($word:literal)|+;)+) => {$(
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                described_as(ObjectBuilder::new().schema_type(Type::String).enum_values(Some([$($word),+])))
            }
        }
        field!($name);
    )+};
}

words! {
    RoleWord = "admin" | "data_collector";
    TokenTypeWord = "Bearer";
    SeenStateWord = "idle" | "ready" | "recording" | "paused" | "unknown";
    DirectionWord = "heard" | "sent" | "noted";
    CancelledWord = "cancelled";
    EndedWord = "cancelled" | "recalled";
    MovedWord = "in_progress" | "unknown";
    AcknowledgedWord = "acknowledged";
    SentWord = "sent";
    DimensionWord = "scene" | "sop";
    EpisodeFileWord = "mcap" | "sidecar";
    HealthWord = "healthy" | "unhealthy";
    AnswerWord = "rpc_response";
}
