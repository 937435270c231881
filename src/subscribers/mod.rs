//! What is done about events. Each subscriber says in its module what makes a repeat harmless,
//! and sends a command where something has to be changed.

mod context;
pub mod device_commands;
mod odd_json;
mod sidecar;
pub mod upload_verification;

use std::sync::Arc;

use crate::blobs::Blobs;
use crate::commands::Commands;
use crate::commands::callbacks::CallbackTokens;
use crate::devices::Hub;
use crate::dispatcher::Subscriber;
use crate::domain::routing::SubscriberName;
use crate::projections::reads::Reads;
use device_commands::DeviceCommands;
use upload_verification::UploadVerification;

/// What subscribers are made of.
pub struct Parts {
    pub hub: Hub,
    pub commands: Commands,
    pub reads: Reads,
    pub callbacks: CallbackTokens,
    pub blobs: Blobs,
    pub sidecar_bytes_max: u64,
}

/// Makes the subscriber of a name. How its rows are worked on stands in the settings, under the same name.
pub fn make(name: SubscriberName, parts: &Parts) -> Arc<dyn Subscriber> {
    let commands = parts.commands.clone();
    match name {
        SubscriberName::DeviceCommands => {
            Arc::new(DeviceCommands::new(parts.hub.clone(), commands, parts.reads.clone(), parts.callbacks.clone()))
        }
        SubscriberName::UploadVerification => Arc::new(UploadVerification::new(commands, parts.blobs.clone(), parts.sidecar_bytes_max)),
    }
}
