//! `keystone verify`: whether the log is what it promises, and what was signed (`docs/log-proof.md`).
//!
//! - [`work`]: what is asked, and what is found.
//! - [`known`]: keys and checkpoints that others kept.
//! - [`source`]: where events and tiles are read: [`database`], and [`files`] that were copied from a server.
//! - [`examine`]: events against tree and heads, whole or a range of them.

mod database;
mod examine;
mod files;
mod known;
mod source;
mod work;

use anyhow::ensure;

use super::broken::Broken;
use super::output::say;
use crate::config::Config;
pub use work::Options;

pub async fn run(options: &Options, settings: impl Fn() -> anyhow::Result<Config>) -> anyhow::Result<()> {
    if let (Some(from), Some(to)) = (options.from, options.to) {
        ensure!(from <= to, "--from is behind --to");
    }
    let keys = known::Keys::read(&options.key)?;
    let found =
        if options.is_offline() { files::verify(options, &keys).await? } else { database::verify(options, keys, &settings()?).await? };
    found.said.iter().try_for_each(|line| say(line))?;
    found.faults.iter().try_for_each(|fault| say(&format!("BROKEN: {fault}")))?;
    match found.faults.len() {
        0 => Ok(()),
        1 => Err(Broken("the log breaks one of its promises".to_owned()).into()),
        faults => Err(Broken(format!("the log breaks {faults} of its promises")).into()),
    }
}
