//! `[certificates]`: what signs the certificates of episodes.

use std::path::PathBuf;

use serde::Deserialize;

use super::forms::set_or_none;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// `None`: one in the data folder, where there is one.
    #[serde(deserialize_with = "set_or_none")]
    pub key_file: Option<PathBuf>,
    #[serde(deserialize_with = "set_or_none")]
    pub earlier_keys_file: Option<PathBuf>,
}
