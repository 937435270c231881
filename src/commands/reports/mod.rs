//! What devices tell over their sockets, from there into storage.
//!
//! Every [`DeviceReport`] names the link that it came over. If that link was replaced meanwhile, or the task is not the
//! device's, nothing changes, and the device's stream says so. Callbacks are told over HTTP and are in `callbacks`:
//! they come over no link, and are proven by a token.

mod hear;
mod recorder;
mod told;
mod uploads;

pub use told::DeviceReport;
pub(super) use told::{not_owned, note_refused, owned};
pub use uploads::check_object_key;
