//! What was given beside the defaults: a file, and the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::environment;
use super::error::ConfigError;

pub struct Given {
    /// Its name and its text.
    file: Option<(String, String)>,
    pub(super) environment: BTreeMap<String, String>,
    /// Variables that come from a `.env` file.
    pub(super) dot_env: BTreeSet<String>,
}

impl Given {
    /// Reads `file`, or what KEYSTONE_CONFIG names, and the environment. A `.env` file in the working directory stands behind the
    /// real environment and never overrides it.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let (environment, dot_env) = environment::given();
        let named = environment.get("KEYSTONE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let read = |path: PathBuf| match std::fs::read_to_string(&path) {
            Ok(text) => Ok((path.display().to_string(), text)),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        };
        let file = file.map(Path::to_path_buf).or(named).map(read).transpose()?;
        Ok(Self { file, environment, dot_env })
    }

    pub(super) fn file(&self) -> Option<(&str, &str)> {
        self.file.as_ref().map(|(name, text)| (&**name, &**text))
    }
}
