//! What a command prints.

use std::io::Write as _;

/// Prints a line; its reader may have seen enough (`| head`).
pub fn say(line: &str) -> anyhow::Result<()> {
    is_heard(line).map(drop)
}

/// Prints a line, and answers whether its reader is still there.
pub fn is_heard(line: &str) -> anyhow::Result<bool> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        outcome => Ok(outcome.map(|()| true)?),
    }
}
