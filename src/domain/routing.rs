//! Which subscriber has work to do because of which event. Pure, and complete: what is
//! not named here is not sent anywhere.

/// A follower that has work to do, with one outbox row per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubscriberName {
    /// Sends requests and acks to recorder and transfer sockets.
    DeviceCommands,
    /// Compares an uploaded object with what the device said about it.
    UploadVerification,
}

impl SubscriberName {
    pub const ALL: [(&'static str, Self); 2] =
        [("device_commands", Self::DeviceCommands), ("upload_verification", Self::UploadVerification)];
    pub fn as_str(self) -> &'static str {
        super::catalog::word(&Self::ALL, self)
    }
}

/// The subscribers of an event, by its stored type.
pub fn subscribers_of(event_type: &str) -> &'static [SubscriberName] {
    use SubscriberName::{DeviceCommands, UploadVerification};
    match event_type {
        // An RPC to the recorder.
        "device_command_requested" => &[DeviceCommands],
        // The recording is a file: ask for its upload.
        "recording_finished" | "upload_requested_again" | "failed_upload_requested" => &[DeviceCommands],
        "upload_reported" | "late_upload_reported" => &[UploadVerification],
        // The episode is durable: the device may delete its copy.
        "upload_verified" | "late_upload_verified" | "upload_ack_requested" => &[DeviceCommands],
        _ => &[],
    }
}
