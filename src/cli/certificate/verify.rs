//! Of a file: whether it is what was signed, says one thing, and is about this recording.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::told::tell;
use crate::app::certificates::read_pem;
use crate::certificates::{Checked, FILE_BYTES_MAX, PublicKey, check};
use crate::cli::broken::Broken;
use crate::cli::local_file::{LocalFile, PIECE_BYTES};
use crate::cli::output::{say, say_json};

#[derive(clap::Args)]
pub struct Options {
    /// A certificate, or what the route answers with it inside
    file: PathBuf,
    /// Public keys, as PEM; one file may have several
    #[arg(long, value_name = "PEM", required = true)]
    key: Vec<PathBuf>,
    /// The recording that it is said to be of
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// The file beside the recording
    #[arg(long, value_name = "FILE")]
    sidecar: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut keys: Vec<PublicKey> = vec![];
    for file in &options.key {
        let cannot = || format!("cannot use {} as a public key", file.display());
        keys.extend(PublicKey::all_of_pem(&read_pem(file).with_context(cannot)?).with_context(cannot)?);
    }
    let Checked { statement, signed_by, faults } =
        check(&bytes_of(&options.file)?, &keys).with_context(|| format!("cannot read {}", options.file.display()))?;
    let mut faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    if let Some(told) = statement.as_ref().map(|statement| &statement.predicate) {
        if let Some(file) = &options.recording {
            faults.extend(differs("recording", file, Some(&told.recording.sha256), Some(told.recording.size_bytes))?);
        }
        if let Some(file) = &options.sidecar {
            let sidecar = told.sidecar.as_ref();
            let (sha256, size) = (sidecar.and_then(|sidecar| sidecar.sha256.as_ref()), sidecar.and_then(|sidecar| sidecar.size_bytes));
            faults.extend(differs("sidecar", file, sha256, size)?);
        }
    }
    if options.json {
        say_json(&json!({ "sound": faults.is_empty(), "faults": faults, "signed_by": signed_by, "statement": statement }))?;
    } else if let Some(statement) = statement.as_ref().filter(|_| faults.is_empty()) {
        say(&format!("Sound: signed by {}", signed_by.join(", ")))?;
        tell(statement)?;
    } else {
        faults.iter().try_for_each(|fault| say(&format!("WRONG: {fault}")))?;
    }
    if faults.is_empty() { Ok(()) } else { Err(Broken(format!("{} is not sound", options.file.display())).into()) }
}

/// No more than can be one.
fn bytes_of(file: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", file.display());
    let mut bytes = vec![];
    let LocalFile { file, .. } = LocalFile::open(file)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(cannot)?;
    Ok(bytes)
}

/// What of a file is not as the certificate says.
fn differs(field: &str, path: &Path, sha256: Option<&String>, size: Option<u64>) -> anyhow::Result<Option<String>> {
    let LocalFile { file, size: found } = LocalFile::open(path)?;
    let Some(sha256) = sha256 else { return Ok(Some(format!("{field}: the certificate has no hash of it"))) };
    if size.is_some_and(|size| size != found) {
        return Ok(Some(format!("{field}.size_bytes: {} has {found}", path.display())));
    }
    let hash = hash_of(file).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((hash != *sha256).then(|| format!("{field}.sha256: that of {} is {hash}", path.display())))
}

fn hash_of(mut file: File) -> anyhow::Result<String> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&piece[..read]),
        }
    }
}
