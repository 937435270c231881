//! Recorder and transfer sockets.
