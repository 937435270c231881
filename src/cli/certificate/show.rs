//! The certificate of an episode, from its server.

use std::io::Write as _;

use anyhow::Context as _;

use super::told::tell;
use crate::certificates::Envelope;
use crate::cli::output::say_json;
use crate::cli::remote::Remote;

pub async fn run(remote: &Remote, episode: i64, file: bool, json: bool) -> anyhow::Result<()> {
    let answer = remote.get(&format!("/episodes/{episode}/certificate")).await?;
    let odd = "the server answers with something else than a certificate";
    let envelope: Envelope = serde_json::from_value(answer["certificate"].clone()).context(odd)?;
    if file {
        std::io::stdout().write_all(&envelope.bytes())?;
        return Ok(());
    }
    let statement = envelope.statement().context(odd)?;
    if json {
        return say_json(&statement);
    }
    tell(&statement)
}
