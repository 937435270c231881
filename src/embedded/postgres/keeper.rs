//! The child process that ends with us, however we end.

use std::io;

use nix::sys::signal::Signal;
use tokio::process::{Child, Command};

/// The thread that started the cluster, kept for as long as the cluster should run.
///
/// The kernel's signal to the child follows the thread that forked, not the process;
/// a thread of the runtime may end earlier.
#[derive(Debug)]
pub(super) struct Keeper {
    until_dropped: Option<std::sync::mpsc::Sender<()>>,
}

impl Keeper {
    pub(super) async fn spawn(mut command: Command) -> io::Result<(Child, Self)> {
        let runtime = tokio::runtime::Handle::current();
        let (until_dropped, dropped) = std::sync::mpsc::channel::<()>();
        let (sender, started) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("postgres-keeper".to_owned()).spawn(move || {
            let child = {
                let _context = runtime.enter();
                command.spawn()
            };
            if sender.send(child).is_ok() {
                // Returns an error, which is what we wait for.
                let _ = dropped.recv();
            }
        })?;
        let child = started.await.map_err(io::Error::other)??;
        let keeper = Self { until_dropped: Some(until_dropped) };
        Ok((child, keeper))
    }

    /// The thread waits until the process ends.
    pub(super) fn keep_for_ever(&mut self) {
        std::mem::forget(self.until_dropped.take());
    }
}

/// Makes the kernel send the child a fast shutdown when the thread that started it ends.
#[allow(unsafe_code)]
pub(super) fn die_with_us(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only the two system calls below are made; neither
    // allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
            // We may have been killed before the line above took effect.
            if nix::unistd::getppid().as_raw() as u32 != parent {
                return Err(io::Error::other("the parent process has ended"));
            }
            Ok(())
        });
    }
}
