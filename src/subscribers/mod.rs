//! What is done about events. Each subscriber says in its module what makes a repeat harmless,
//! and sends a command where something has to be changed.

pub mod cloud_queue;
pub mod cloud_sync;
mod context;
pub mod device_commands;
pub mod edge_copies;
mod odd_json;
pub mod qa;
pub mod salvage;
mod sidecar;
pub mod upload_verification;
pub mod webhooks;

use std::sync::Arc;

use crate::blobs::Blobs;
use crate::certificates::Certificates;
use crate::commands::Commands;
use crate::commands::callbacks::CallbackTokens;
use crate::devices::Hub;
use crate::dispatcher::Subscriber;
use crate::domain::routing::SubscriberName;
use crate::domain::sync::CloudName;
use crate::projections::reads::Reads;
use crate::qa::Runs;
use cloud_queue::CloudQueue;
use cloud_sync::{CloudSync, Clouds, SyncTerms};
use device_commands::DeviceCommands;
use edge_copies::{EdgeCopies, Looker};
use qa::Qa;
use salvage::Salvage;
use upload_verification::UploadVerification;
use webhooks::{SystemNames, WebhookSettings, Webhooks};

/// What subscribers are made of.
pub struct Parts {
    pub hub: Hub,
    pub commands: Commands,
    pub reads: Reads,
    pub callbacks: CallbackTokens,
    pub blobs: Blobs,
    pub sidecar_bytes_max: u64,
    pub runs: Runs,
    /// Whether new episodes are judged by themselves.
    pub judges_new: bool,
    pub webhooks: WebhookSettings,
    pub certificates: Certificates,
    pub clouds: Clouds,
    pub looker: Looker,
    pub sync: SyncTerms,
    /// Whether approved episodes are pushed by themselves, where nobody has switched it.
    pub auto_scan: bool,
    /// Whether the site lets people in without a login.
    pub without_login: bool,
}

/// Makes the subscriber of a name. How its rows are worked on stands in the settings, under the same name.
pub fn make(name: SubscriberName, parts: &Parts) -> anyhow::Result<Arc<dyn Subscriber>> {
    let commands = parts.commands.clone();
    Ok(match name {
        SubscriberName::DeviceCommands => {
            Arc::new(DeviceCommands::new(parts.hub.clone(), commands, parts.reads.clone(), parts.callbacks.clone(), parts.without_login))
        }
        SubscriberName::UploadVerification => Arc::new(UploadVerification::new(commands, parts.blobs.clone(), parts.sidecar_bytes_max)),
        SubscriberName::Qa => Arc::new(Qa::new(parts.runs.clone(), parts.judges_new)),
        SubscriberName::Salvage => Arc::new(Salvage::new(commands, parts.reads.clone(), parts.blobs.clone())),
        SubscriberName::CloudQueue => {
            let clouds: Vec<CloudName> = parts.clouds.keys().copied().collect();
            Arc::new(CloudQueue::new(commands, parts.reads.clone(), clouds, parts.auto_scan))
        }
        SubscriberName::CloudSync => {
            let certificates = parts.certificates.clone();
            Arc::new(CloudSync::new(commands, parts.reads.clone(), parts.blobs.clone(), certificates, parts.clouds.clone(), parts.sync))
        }
        SubscriberName::EdgeCopies => Arc::new(EdgeCopies::new(parts.looker.clone())),
        SubscriberName::Webhooks => Arc::new(Webhooks::new(commands, parts.reads.clone(), parts.webhooks.clone(), Arc::new(SystemNames))?),
    })
}
