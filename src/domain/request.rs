//! What a person asked to be done through the outbox, and what became of it.

use super::words::words;

words! {
    /// How a request stands. `docs/requests.md` says what each means to its caller.
    RequestStatus {
        Pending = "pending",
        /// The device did it.
        Succeeded = "succeeded",
        /// The device refused it.
        Refused = "refused",
        /// We refused it: the caller had no right to it any more.
        RightLost = "right_lost",
        /// It was not sent, because too much was waiting for the device.
        Overloaded = "overloaded",
        /// It was not sent for another reason.
        NotSent = "not_sent",
        /// It was sent, and the device did not answer in its time.
        TimedOut = "timed_out",
        /// It was sent, and nobody knows what became of it.
        Unknown = "unknown",
    }
}

impl RequestStatus {
    /// Whether nothing more is expected.
    pub fn is_settled(self) -> bool {
        self != Self::Pending
    }

    /// Whether what became of it is known.
    pub fn is_known(self) -> bool {
        self.is_settled() && !matches!(self, Self::TimedOut | Self::Unknown)
    }
}
