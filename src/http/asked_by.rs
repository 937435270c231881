//! Who asked, as an answer carries it outward: what stands around the guard does not know it before.

use super::auth::Identity;

/// On an answer to a request that the guard let in.
#[derive(Clone, Debug)]
pub struct AskedBy(pub Identity);
