//! The keys of certificates at a start: given by the settings, kept from before, or made now.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tracing::{info, warn};

use crate::certificates::{Certificates, Keyring, PublicKey, SigningKey};
use crate::config::{self, Secret};
use crate::embedded::{DataDir, secret_file};
use crate::projections::reads::Reads;

/// The data folder's files.
pub const CERTIFICATE_KEY: &str = "certificate_key.pem";
pub const EARLIER_CERTIFICATE_KEYS: &str = "earlier_certificate_keys.pem";

/// Some hundred keys.
pub const PEM_BYTES_MAX: u64 = 64 << 10;

/// Where the keys of a site lie.
pub struct KeyFiles {
    /// None: nothing was named, and there is no data folder.
    pub signing: Option<PathBuf>,
    pub earlier: Option<PathBuf>,
}

impl KeyFiles {
    pub fn of(settings: &config::Certificates, data_dir: Option<&Path>) -> Self {
        let kept = |name: &str| data_dir.map(|folder| secret_file(folder, name));
        Self {
            signing: settings.key_file.clone().or_else(|| kept(CERTIFICATE_KEY)),
            earlier: settings.earlier_keys_file.clone().or_else(|| kept(EARLIER_CERTIFICATE_KEYS)),
        }
    }

    /// Those that are there.
    pub fn keyring(&self) -> anyhow::Result<Option<Keyring>> {
        let Some(file) = &self.signing else { return Ok(None) };
        let cannot = || format!("the key of certificates cannot be used: {}", file.display());
        let signing = SigningKey::of_pem(&read_pem(file).with_context(cannot)?).with_context(cannot)?;
        Ok(Some(Keyring::new(signing, self.earlier_keys()?)))
    }

    /// Nobody has to have had a key before.
    pub fn earlier_keys(&self) -> anyhow::Result<Vec<PublicKey>> {
        let Some(file) = self.earlier.as_ref().filter(|file| file.exists()) else { return Ok(vec![]) };
        let cannot = || format!("the earlier keys of certificates cannot be used: {}", file.display());
        PublicKey::all_of_pem(&read_pem(file).with_context(cannot)?).with_context(cannot)
    }
}

/// What makes certificates. A data folder in use gets its key at the first start.
pub fn of(settings: &config::Certificates, data: Option<&DataDir>, reads: &Reads) -> anyhow::Result<Certificates> {
    let files = KeyFiles::of(settings, data.map(DataDir::path));
    match (&settings.key_file, data) {
        (Some(file), _) => {
            let cannot = || format!("`certificates.key_file` (KEYSTONE_CERTIFICATE_KEY_FILE) cannot be used: {}", file.display());
            if std::fs::metadata(file).with_context(cannot)?.permissions().mode() & 0o077 != 0 {
                warn!("Others than its owner can read {}, which signs certificates: `chmod 600` closes it", file.display());
            }
        }
        (None, Some(data)) if !data.has_secret(CERTIFICATE_KEY) => {
            data.remember(CERTIFICATE_KEY, &Secret::new(SigningKey::new_pem()?)).context("a key for certificates cannot be kept")?;
        }
        (None, Some(_)) => {}
        (None, None) => info!("No certificates of episodes are made: `certificates.key_file` names no key, and no data folder is in use"),
    }
    // One that is named has to be there.
    if let Some(file) = &settings.earlier_keys_file {
        ensure!(
            file.exists(),
            "`certificates.earlier_keys_file` (KEYSTONE_EARLIER_CERTIFICATE_KEYS_FILE) names {}, which is not there",
            file.display()
        );
    }
    Ok(Certificates::new(reads.clone(), files.keyring()?))
}

/// A file of keys; a larger one is another file.
pub fn read_pem(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(PEM_BYTES_MAX + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= PEM_BYTES_MAX, "it has more than {PEM_BYTES_MAX} bytes");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(key: Option<&Path>, earlier: Option<&Path>) -> config::Certificates {
        config::Certificates { key_file: key.map(Path::to_owned), earlier_keys_file: earlier.map(Path::to_owned) }
    }

    fn reads() -> Reads {
        let config = config::Config::defaults();
        let url = Secret::new("postgres://nobody@127.0.0.1:1/none");
        Reads::new(crate::pg::Connector::new(&url, &config.database).unwrap().pool().unwrap())
    }

    #[tokio::test]
    async fn a_data_folder_gets_one_key_which_only_its_owner_reads() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::lock(&temp.path().join("data")).unwrap();
        let none = settings(None, None);
        let first = of(&none, Some(&data), &reads()).unwrap();
        let again = of(&none, Some(&data), &reads()).unwrap();
        assert_eq!((first.keys().len(), first.keys()), (1, again.keys()));
        let secrets = data.path().join("secrets");
        let mode = std::fs::metadata(secrets.join(CERTIFICATE_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(of(&none, None, &reads()).unwrap().keys().len(), 0);
        let other = SigningKey::of_pem(&SigningKey::new_pem().unwrap()).unwrap();
        std::fs::write(secrets.join(EARLIER_CERTIFICATE_KEYS), other.public().pem()).unwrap();
        assert_eq!(of(&none, Some(&data), &reads()).unwrap().keys(), [first.keys()[0], other.public()]);
    }

    #[tokio::test]
    async fn a_key_that_is_named_is_used_or_the_start_says_why_not() {
        let temp = tempfile::tempdir().unwrap();
        let (file, earlier) = (temp.path().join("key.pem"), temp.path().join("earlier.pem"));
        let reads = reads();
        let why = |settings: &config::Certificates| of(settings, None, &reads).err().map(|error| format!("{error:#}")).unwrap_or_default();
        let named = settings(Some(&file), None);
        assert!(why(&named).contains("certificates.key_file") && why(&named).contains("No such file"), "{}", why(&named));
        std::fs::write(&file, "no key").unwrap();
        assert!(why(&named).contains("no PRIVATE KEY in PEM"), "{}", why(&named));
        std::fs::write(&file, "x".repeat(1 << 20)).unwrap();
        assert!(why(&named).contains("more than 65536 bytes"), "{}", why(&named));
        let key = SigningKey::new_pem().unwrap();
        std::fs::write(&file, &key).unwrap();
        assert_eq!(of(&named, None, &reads).unwrap().keys(), [SigningKey::of_pem(&key).unwrap().public()]);
        let both = settings(Some(&file), Some(&earlier));
        assert!(why(&both).contains("earlier.pem, which is not there"), "{}", why(&both));
        std::fs::write(&earlier, "no key").unwrap();
        assert!(why(&both).contains("no PUBLIC KEY in PEM"), "{}", why(&both));
    }
}
