//! How a server is made to end, and how often we look whether it has.

use std::time::Duration;

use nix::sys::signal::Signal;

/// How long a fast shutdown may take before we insist: it writes one checkpoint, of at most what
/// `shared_buffers` holds. An immediate one writes nothing, and a killed server cannot hang.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// One after the other, each with the time it is given.
pub(super) const ENDINGS: [(Signal, Duration); 3] =
    [(Signal::SIGINT, STOP_TIMEOUT), (Signal::SIGQUIT, QUIT_TIMEOUT), (Signal::SIGKILL, KILL_TIMEOUT)];

/// Between looks at a cluster that is starting or stopping.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(25);
