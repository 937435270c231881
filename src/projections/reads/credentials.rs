//! Who may log in, and with what. Not a read model: secrets live beside the events.

use super::{FromRow, ReadError, Reads, row};

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
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("login of a data collector", collector_login())]
}
