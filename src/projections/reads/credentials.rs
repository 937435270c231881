//! Who may log in, and with what. Not a read model: secrets live beside the events.

use super::{FromRow, ReadError, Reads, row};
use crate::domain::DeviceId;

row! {
    /// A data collector who has a password.
    LoginRow {
        collector_id: i64 = "c.id",
        operator_id: String = "c.operator_id",
        name: String = "c.name",
        status: String = "c.status",
        password_hash: String = "k.password_hash",
    }
}

row! {
    /// A robot whose programs may connect with a token.
    RecorderTokenRow {
        /// Lower-case hex SHA-256.
        token_hash: String = "k.password_hash",
    }
}

fn recorder_token() -> String {
    format!(
        "select {} from robots r join credentials k on k.subject = 'recorder' and k.subject_id = r.id \
         where r.device_id = $1 and r.status = 'active'",
        RecorderTokenRow::COLUMNS
    )
}

fn collector_login() -> String {
    format!(
        "select {} from data_collectors c join credentials k on k.subject = 'data_collector' and k.subject_id = c.id \
         where comparable(c.operator_id) = comparable($1)",
        LoginRow::COLUMNS
    )
}

impl Reads {
    pub async fn collector_login(&self, operator_id: &str) -> Result<Option<LoginRow>, ReadError> {
        self.row(&collector_login(), &[&operator_id]).await
    }

    /// The token of an active robot, if it ever got one.
    pub async fn recorder_token(&self, device: &DeviceId) -> Result<Option<RecorderTokenRow>, ReadError> {
        self.row(&recorder_token(), &[&device.as_str()]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("login of a data collector", collector_login()), ("token of a recorder", recorder_token())]
}
