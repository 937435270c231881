//! Public keys of a site, and another one to sign with.

use anyhow::{Context as _, ensure};

use crate::app::certificates::{KeyFiles, read_pem};
use crate::certificates::{PublicKey, SigningKey};
use crate::cli::output::{say, text};
use crate::cli::remote::Remote;
use crate::config::Config;
use crate::embedded::write_private;

/// What stands above a key in a file of keys, for people; programs skip it.
fn heading(key_id: &str, signs: bool) -> String {
    format!("{key_id} {}", if signs { "signs" } else { "signed before" })
}

pub async fn of_server(remote: &Remote) -> anyhow::Result<()> {
    let answer = remote.get("/certificates/keys").await?;
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    ensure!(!items.is_empty(), "the server has no key: it makes no certificates");
    for key in items {
        say(&heading(text(&key["key_id"]), key["signs"] == true))?;
        say(text(&key["pem"]).trim_end())?;
    }
    Ok(())
}

pub fn of_folder(config: &Config) -> anyhow::Result<()> {
    let files = KeyFiles::of(&config.certificates, Some(&config.embedded.data_dir));
    let keys = files.keyring()?.context("there is no key")?;
    for (place, key) in keys.all().enumerate() {
        say(&heading(&key.id(), place == 0))?;
        say(key.pem().trim_end())?;
    }
    Ok(())
}

/// The public half of the key goes to the earlier ones before another key takes its place: whenever this is killed, everything that was signed can be verified.
pub fn rotate(config: &Config) -> anyhow::Result<()> {
    let settings = &config.certificates;
    ensure!(
        settings.key_file.is_none() || settings.earlier_keys_file.is_some(),
        "`certificates.earlier_keys_file` has to name where the key goes that signed so far, or nothing verifies what it signed"
    );
    let files = KeyFiles::of(settings, Some(&config.embedded.data_dir));
    let (Some(signing), Some(earlier)) = (&files.signing, &files.earlier) else { anyhow::bail!("there is no key") };
    let before = SigningKey::of_pem(&read_pem(signing).with_context(|| format!("cannot read {}", signing.display()))?)?;
    let mut known = files.earlier_keys()?;
    known.retain(|key| key != before.public());
    known.push(before.public().clone());
    let pem: String = known.iter().map(PublicKey::pem).collect();
    write_private(earlier, pem.as_bytes()).with_context(|| format!("cannot write {}", earlier.display()))?;
    let new = SigningKey::new_pem()?;
    write_private(signing, new.as_bytes()).with_context(|| format!("cannot write {}", signing.display()))?;
    say(&format!("Signs from the next start on: {}", SigningKey::of_pem(&new)?.public().id()))?;
    say(&format!("Signed before, and still verifies: {}", before.public().id()))?;
    say("Other processes of the site need both files, too, before they start anew.")
}
