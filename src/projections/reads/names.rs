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

pub(super) use {device, operator, or_empty, robot_type, sop, source, source_name};
