//! What things are called now, in SQL; and where a thing is gone, as it was called when a workstation was bound or a recording made.
//!
//! In a statement, `s` is the workstation, `r` its robot, `y` the robot's type, `c` its data collector, `n` the scene, and `p` the SOP.

/// The robot's device id.
macro_rules! device {
    () => {
        "coalesce(r.device_id, s.robot_serial)"
    };
}

/// Where the recording `f` is from: the robot, or else the workstation.
macro_rules! source {
    () => {
        concat!("coalesce(", device!(), ", f.station_id::text)")
    };
}

/// The same, for people.
macro_rules! source_name {
    () => {
        concat!("coalesce(", device!(), ", 'workstation:' || f.station_id)")
    };
}

/// The data collector's operator id.
macro_rules! operator {
    () => {
        "coalesce(c.operator_id, s.collector_operator_id)"
    };
}

/// What the robot's type is called.
macro_rules! robot_type {
    () => {
        "coalesce(y.name, s.robot_name)"
    };
}

/// Of the SOP of a row: slug and version, with this between them.
macro_rules! sop {
    ($row:literal, $between:literal) => {
        concat!("coalesce(p.slug || coalesce('", $between, "' || nullif(p.sop_version, ''), ''), 'SOP #' || ", $row, ")")
    };
}

/// One of these names; empty where nothing has it.
macro_rules! or_empty {
    ($($name:tt)+) => {
        concat!("coalesce(", $($name)+, ", '')")
    };
}

/// What a row `f` is called by.
pub(super) const NAMED: &str = "left join episodes e on e.id = f.episode_id left join stations s on s.id = f.station_id \
     left join robots r on r.id = s.robot_id left join robot_types y on y.id = f.robot_type_id \
     left join data_collectors c on c.id = s.data_collector_id left join scenes n on n.id = f.scene_id left join sops p on p.id = f.sop_id";

pub(super) use {device, operator, or_empty, robot_type, sop, source, source_name};
