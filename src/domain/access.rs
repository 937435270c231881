//! What an audit tells of: changes, which are events, and what is recorded beside the log.

use super::words::words;

words! {
    /// What was done.
    AccessKind {
        /// Something was changed, or told by a device: an event of the log.
        Change = "change",
        /// What is known of people was read.
        Read = "read",
        /// Files, links to files or many rows at once were taken away.
        Download = "download",
        /// It was not for who asked.
        Refusal = "refusal",
        /// A person signed in, or a key was shown from an address for the first time.
        Login = "login",
        /// Sessions were ended: one's own, or those of another person.
        SessionEnd = "session_end",
        /// Who was signed in chose another password.
        PasswordChange = "password_change",
    }

    /// How a login was proven.
    LoginMethod {
        Password = "password",
        ApiKey = "api_key",
    }
}
