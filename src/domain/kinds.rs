//! The one list of aggregates. Rebuild, read models, golden files and documentation follow it: what is missing
//! here has no row and can be changed by no command.

use super::{Aggregate, Event as _};

/// Hands the list to a macro: `Kind: Aggregate;` for each.
macro_rules! aggregates {
    ($then:ident) => {
        $then! {
            Factory: $crate::domain::registry::Registered<$crate::domain::registry::Factory>;
            Organization: $crate::domain::registry::Registered<$crate::domain::registry::Organization>;
            Scene: $crate::domain::registry::Registered<$crate::domain::registry::Scene>;
            Subscene: $crate::domain::registry::Registered<$crate::domain::registry::Subscene>;
            Skill: $crate::domain::registry::Registered<$crate::domain::registry::Skill>;
            Sop: $crate::domain::registry::Registered<$crate::domain::registry::Sop>;
            RobotType: $crate::domain::registry::Registered<$crate::domain::registry::RobotType>;
            Robot: $crate::domain::registry::Registered<$crate::domain::registry::Robot>;
            DataCollector: $crate::domain::registry::Registered<$crate::domain::registry::DataCollector>;
            Station: $crate::domain::station::Station;
            Order: $crate::domain::order::Order;
            Batch: $crate::domain::batch::Batch;
            Task: $crate::domain::task::Task;
            Episode: $crate::domain::episode::Episode;
            Device: $crate::domain::device::Device;
            RecorderToken: $crate::domain::token::RecorderToken;
            ConfigTemplate: $crate::domain::template::ConfigTemplate;
            BulkRun: $crate::domain::bulk_run::BulkRun;
            DeadLetter: $crate::domain::letter::DeadLetter;
            Subscription: $crate::domain::subscription::Subscription;
            Account: $crate::domain::account::Account;
            ApiKey: $crate::domain::api_key::ApiKey;
            Inspector: $crate::domain::inspector::Inspector;
            QaSuite: $crate::domain::qa_suite::QaSuite;
            QaReference: $crate::domain::reference::QaReference;
            OutsideJob: $crate::domain::outside_job::OutsideJob;
            SyncChain: $crate::domain::sync::SyncChain;
            SyncControl: $crate::domain::sync::SyncControl;
        }
    };
}
pub(crate) use aggregates;

/// An aggregate of the list.
pub trait Listed: Aggregate {
    const KIND: Kind;
}

/// What is done with each aggregate of the list.
pub trait EachKind {
    fn kind<A: Listed>(&mut self);
}

macro_rules! kinds {
    ($($kind:ident: $aggregate:ty;)+) => {
        /// A kind of stream.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($kind),+ }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The name it is stored under.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => <$aggregate>::TYPE),+ }
            }

            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
            }
        }

        $(impl Listed for $aggregate {
            const KIND: Kind = Kind::$kind;
        })+

        /// Does it with each, in the order in which things refer to each other.
        pub fn each_kind(what: &mut impl EachKind) {
            $(what.kind::<$aggregate>();)+
        }
    };
}
aggregates!(kinds);

/// Every type of event that is written, in the order of the list.
pub fn event_types() -> Vec<&'static str> {
    struct Types(Vec<&'static str>);
    impl EachKind for Types {
        fn kind<A: Listed>(&mut self) {
            self.0.extend(A::Event::types().into_iter().map(|(stored, _)| stored));
        }
    }
    let mut types = Types(vec![]);
    each_kind(&mut types);
    types.0
}
