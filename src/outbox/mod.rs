//! What has to be sent, as rows committed with the events that ask for it.
