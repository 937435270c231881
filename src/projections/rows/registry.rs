//! Rows of the registry.

use serde_json::Value;

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::registry::{
    CollectorStatus, DataCollector, Factory, Live as _, Organization, Registered, Robot, RobotStatus, RobotType, Scene, Skill, Sop,
    Subscene,
};
use crate::domain::station::{Station, StationStatus};
use crate::domain::template::{ConfigTemplate, TemplateFile};
use crate::domain::token::RecorderToken;
use crate::domain::{
    CollectorId, DeviceId, FactoryId, OrganizationId, RobotId, RobotTypeId, SceneId, SkillId, SopId, StationId, SubsceneId,
};

table! {
    FactoryRow in "factories" by number FactoryId {
        name: String,
        slug: String,
        location: Option<String>,
        timezone: String,
        settings: Option<Value>,
    }
    OrganizationRow in "organizations" by number OrganizationId {
        factory_id: FactoryId,
        name: String,
        slug: String,
        description: Option<String>,
        settings: Option<Value>,
    }
    SceneRow in "scenes" by number SceneId {
        factory_id: FactoryId,
        name: String,
        description: Option<String>,
        initial_scene_layout_template: Option<String>,
    }
    SubsceneRow in "subscenes" by number SubsceneId {
        scene_id: SceneId,
        name: String,
        description: Option<String>,
        initial_scene_layout: Option<String>,
    }
    // A slug's `version` is a column of its own: `version` is the stream's.
    SkillRow in "skills" by number SkillId {
        slug: String,
        skill_version: String,
        description: Option<String>,
        metadata: Option<Value>,
    }
    SopRow in "sops" by number SopId {
        slug: String,
        sop_version: String,
        description: Option<String>,
        skill_sequence: Vec<SkillId>,
    }
    RobotTypeRow in "robot_types" by number RobotTypeId {
        name: String,
        model: String,
        manufacturer: Option<String>,
        end_effector: Option<String>,
        sensor_suite: Value,
        capabilities: Value,
        ros_topics: Vec<String>,
    }
    RobotRow in "robots" by number RobotId {
        robot_type_id: RobotTypeId,
        factory_id: FactoryId,
        device_id: DeviceId,
        asset_id: Option<String>,
        status: RobotStatus,
        metadata: Value,
    }
    DataCollectorRow in "data_collectors" by number CollectorId {
        organization_id: OrganizationId,
        certification: Option<String>,
        status: CollectorStatus,
        metadata: Value;
        of the person "data_collector" by id name from name else "forgotten person ", operator_id from operator_id else "forgotten-", email from email
    }
    StationRow in "stations" by number StationId {
        name: String,
        robot_id: RobotId,
        robot_name: String,
        robot_serial: DeviceId,
        data_collector_id: CollectorId,
        factory_id: FactoryId,
        organization_id: OrganizationId,
        status: StationStatus,
        metadata: Value,
        is_current: bool,
        superseded_by: Option<StationId>;
        first where "not r.is_current";
        of the person "data_collector" by data_collector_id
        collector_name from name else "forgotten person ", collector_operator_id from operator_id else "forgotten-"
    }
    RecorderTokenRow in "recorder_tokens" by number RobotId {
        fingerprint: String,
        store_key: Option<String>,
    }
    ConfigTemplateRow in "config_templates" by text String {
        robot_type_id: RobotTypeId,
        filename: TemplateFile,
        /// None where it was deleted.
        content: Option<String>,
    }
}

/// The rows of registry entries: the entry's fields, some of them under another name.
macro_rules! shown {
    ($($record:ident as $row:ident { $($field:ident),+ $(; $column:ident from $other:ident)? })+) => {$(
        impl ReadModel for Registered<$record> {
            type Row = $row;

            fn shown(state: &Self) -> Shown<$row> {
                let row = |entry: &$record| $row { $($field: entry.$field.clone(),)+ $($column: entry.$other.clone())? };
                state.live().map(row).into()
            }
        }
    )+};
}

shown! {
    Factory as FactoryRow { name, slug, location, timezone, settings }
    Organization as OrganizationRow { factory_id, name, slug, description, settings }
    Scene as SceneRow { factory_id, name, description, initial_scene_layout_template }
    Subscene as SubsceneRow { scene_id, name, description, initial_scene_layout }
    Skill as SkillRow { slug, description, metadata; skill_version from version }
    Sop as SopRow { slug, description, skill_sequence; sop_version from version }
    RobotType as RobotTypeRow { name, model, manufacturer, end_effector, sensor_suite, capabilities, ros_topics }
    Robot as RobotRow { robot_type_id, factory_id, device_id, asset_id, status, metadata }
    DataCollector as DataCollectorRow { organization_id, name, operator_id, email, certification, status, metadata }
}

impl ReadModel for Station {
    type Row = StationRow;

    fn shown(state: &Self) -> Shown<StationRow> {
        let Station::Bound(station) = state else { return Shown::Gone };
        let binding = station.binding.clone();
        Shown::Row(StationRow {
            name: binding.name,
            robot_id: binding.robot_id,
            robot_name: binding.robot_name,
            robot_serial: binding.robot_serial,
            data_collector_id: binding.data_collector_id,
            collector_name: binding.collector_name,
            collector_operator_id: binding.collector_operator_id,
            factory_id: binding.factory_id,
            organization_id: binding.organization_id,
            status: station.status,
            metadata: binding.metadata,
            is_current: station.current,
            superseded_by: station.superseded_by,
        })
    }
}

impl ReadModel for RecorderToken {
    type Row = RecorderTokenRow;

    fn shown(state: &Self) -> Shown<RecorderTokenRow> {
        let row = |fingerprint: &String| RecorderTokenRow { fingerprint: fingerprint.clone(), store_key: state.store_key.clone() };
        state.fingerprint.as_ref().map(row).into()
    }
}

impl ReadModel for ConfigTemplate {
    type Row = ConfigTemplateRow;

    fn shown(state: &Self) -> Shown<ConfigTemplateRow> {
        let (template, content) = match state {
            Self::Absent => return Shown::Gone,
            Self::Written(template) => (template, Some(template.content.clone())),
            Self::Deleted(template) => (template, None),
        };
        Shown::Row(ConfigTemplateRow { robot_type_id: template.robot_type_id, filename: template.filename, content })
    }
}
