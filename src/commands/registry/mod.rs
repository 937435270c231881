//! Registering entries, changing and deleting them; binding stations, binding robots to assets and retiring them.
//!
//! One file per kind, all of the same shape: what creates one, what can be asked to be another one, and the kind as an [`Entry`]: what
//! needs it, what a change has to keep, what follows from one. `docs/registry.md` has the rules in one table.

mod assets;
mod data_collectors;
mod entry;
mod factories;
mod organizations;
mod robot_types;
mod robots;
mod scenes;
mod skills;
mod slugs;
mod sops;
mod stations;
mod subscenes;

use crate::domain::registry;

pub use assets::{BindAsset, UnbindAsset};
pub use data_collectors::{CreateDataCollector, DataCollectorChange};
pub(super) use entry::register;
pub use entry::{Change, Delete, Entry};
pub use factories::{CreateFactory, FactoryChange};
pub use organizations::{CreateOrganization, OrganizationChange};
pub use robot_types::{CreateRobotType, RobotTypeChange};
pub use robots::{CreateRobot, RetireRobot, RobotChange};
pub use scenes::{CreateScene, SceneChange};
pub use skills::{CreateSkill, SkillChange};
pub use sops::{CreateSop, SopChange};
pub use stations::{AtStation, BindStation, ChangeStation, FollowCollector, UnbindStation};
pub use subscenes::{CreateSubscene, SubsceneChange};

/// Every statement that counts what needs an entry, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    fn of<R: Entry>() -> impl Iterator<Item = (&'static str, String)> {
        R::NEEDED_BY.iter().map(|need| (R::WHAT, need.counted.to_owned()))
    }
    of::<registry::Factory>()
        .chain(of::<registry::Organization>())
        .chain(of::<registry::Scene>())
        .chain(of::<registry::Subscene>())
        .chain(of::<registry::Skill>())
        .chain(of::<registry::Sop>())
        .chain(of::<registry::RobotType>())
        .chain(of::<registry::Robot>())
        .chain(of::<registry::DataCollector>())
        .collect()
}
