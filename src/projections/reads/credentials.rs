//! Who may log in, and with what. Not a read model: secrets live beside the events.

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::inspector::InspectorStatus;
use crate::domain::registry::CollectorStatus;
use crate::domain::{CollectorId, DeviceId, InspectorId, RobotId, Timestamp};

row! {
    LoginRow {
        comparable: String = "n.comparable",
        collector_id: Option<CollectorId> = "c.id",
        operator_id: Option<String> = "c.operator_id",
        name: Option<String> = "c.name",
        status: Option<CollectorStatus> = "c.status",
        password_hash: Option<String> = "k.password_hash",
        inspector: Option<InspectorId> = "i.id",
        inspector_id: Option<String> = "i.inspector_id",
        inspector_name: Option<String> = "i.name",
        inspector_status: Option<InspectorStatus> = "i.status",
        inspector_hash: Option<String> = "ki.password_hash",
    }
}

/// Whose account a name means.
#[derive(Clone, Debug)]
pub struct Login {
    /// The name as accounts are compared: all its spellings are one.
    pub comparable: String,
    /// Where there is such an account.
    pub collector: Option<CollectorLogin>,
    /// The same of an inspector: no two accounts have one name.
    pub inspector: Option<InspectorLogin>,
}

/// An inspector who has a password.
#[derive(Clone, Debug)]
pub struct InspectorLogin {
    pub id: InspectorId,
    pub inspector_id: String,
    pub name: String,
    pub status: InspectorStatus,
    pub password_hash: String,
}

/// A data collector who has a password.
#[derive(Clone, Debug)]
pub struct CollectorLogin {
    pub collector_id: CollectorId,
    pub operator_id: String,
    pub name: String,
    pub status: CollectorStatus,
    pub password_hash: String,
}

impl From<LoginRow> for Login {
    fn from(row: LoginRow) -> Self {
        let inspector = row.inspector.zip(row.inspector_id).zip(row.inspector_name).zip(row.inspector_status).zip(row.inspector_hash);
        let inspector = inspector.map(|((((id, inspector_id), name), status), password_hash)| InspectorLogin {
            id,
            inspector_id,
            name,
            status,
            password_hash,
        });
        let LoginRow { comparable, collector_id, operator_id, name, status, password_hash, .. } = row;
        let known = collector_id.zip(operator_id).zip(name).zip(status).zip(password_hash);
        let collector = known.map(|((((collector_id, operator_id), name), status), password_hash)| CollectorLogin {
            collector_id,
            operator_id,
            name,
            status,
            password_hash,
        });
        Self { comparable, collector, inspector }
    }
}

row! {
    /// A robot whose programs may connect with a token.
    TokenHashRow {
        /// Lower-case hex SHA-256.
        token_hash: String = "k.password_hash",
    }
}

row! {
    /// The robot that a key to the object store belongs to now.
    StoreKeyRow {
        device_id: DeviceId = "r.device_id",
    }
}

row! {
    /// A robot that has no key of its own and can upload only with one that several robots hold.
    KeylessRobotRow {
        robot_id: RobotId = "r.id",
        device_id: DeviceId = "r.device_id",
        /// Others get no key any more, and may have something to bring.
        in_service: bool = "r.status = 'active'",
        /// When its uploader connected, the last time.
        uploader_since: Option<Timestamp> = "d.transfer_since",
    }
}

row! {
    AdminRow {
        password_hash: String = "k.password_hash",
    }
}

fn admin_password() -> String {
    format!("select {} from credentials k where k.subject = 'administrator' and k.subject_id = 0", AdminRow::columns())
}

fn store_key() -> String {
    format!("select {} from recorder_tokens t join robots r on r.id = t.id where t.store_key = $1", StoreKeyRow::columns())
}

fn has_store_key() -> &'static str {
    "select count(*) from robots r join recorder_tokens t on t.id = r.id where r.device_id = $1 and t.store_key is not null"
}

pub(super) fn keyless_robots() -> String {
    format!(
        "select {} from robots r left join recorder_tokens t on t.id = r.id left join devices d on d.id = r.device_id \
         where t.store_key is null and (r.status = 'active' or d.id is not null) order by r.device_id",
        KeylessRobotRow::columns()
    )
}

fn recorder_token() -> String {
    format!(
        "select {} from robots r join credentials k on k.subject = 'recorder' and k.subject_id = r.id \
         where r.device_id = $1 and (r.status = 'active' or $2)",
        TokenHashRow::columns()
    )
}

/// Whose login it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    Collector(CollectorId),
    Inspector(InspectorId),
}

/// A password that is as old as the second in which a login was given was there before it.
fn account_stands() -> &'static str {
    "select count(*) from credentials k where k.subject = $1 and k.subject_id = $2 and k.changed_at < to_timestamp($3::bigint + 1) and \
     case k.subject when 'inspector' then exists (select from inspectors i where i.id = $2 and i.status = 'active') \
     else exists (select from data_collectors c where c.id = $2 and c.status = 'active') end"
}

fn person_login() -> String {
    format!(
        "select {} from (select comparable($1) as comparable) n \
         left join data_collectors c on comparable(c.operator_id) = n.comparable \
         left join credentials k on k.subject = 'data_collector' and k.subject_id = c.id \
         left join inspectors i on comparable(i.inspector_id) = n.comparable \
         left join credentials ki on ki.subject = 'inspector' and ki.subject_id = i.id",
        LoginRow::columns()
    )
}

impl Reads {
    /// Of the administrator's password; none before the first start of a server.
    pub async fn admin_password_hash(&self) -> Result<Option<String>, ReadError> {
        let row: Option<AdminRow> = self.row(&admin_password(), &[]).await?;
        Ok(row.map(|row| row.password_hash))
    }

    pub async fn person_login(&self, operator_id: &str) -> Result<Login, ReadError> {
        let row: Option<LoginRow> = self.row(&person_login(), &[&operator_id]).await?;
        Ok(row.map_or_else(|| Login { comparable: operator_id.to_owned(), collector: None, inspector: None }, Login::from))
    }

    /// Whether the account may log in, and has had its password since before `issued_at`, in seconds since 1970.
    pub async fn account_stands(&self, account: Account, issued_at: i64) -> Result<bool, ReadError> {
        let (subject, id) = match account {
            Account::Collector(id) => ("data_collector", id.0),
            Account::Inspector(id) => ("inspector", id.0),
        };
        Ok(self.number(account_stands(), &[&subject, &id, &issued_at]).await? > 0)
    }

    /// The token of a robot that is in service; `also_retired`: or was.
    pub async fn recorder_token(&self, device: &DeviceId, also_retired: bool) -> Result<Option<TokenHashRow>, ReadError> {
        self.row(&recorder_token(), &[&device, &also_retired]).await
    }
}

impl Reads {
    /// Whose the key is; nobody's where it was replaced, or was never given out.
    pub async fn store_key(&self, access_key: &str) -> Result<Option<StoreKeyRow>, ReadError> {
        self.row(&store_key(), &[&access_key]).await
    }

    /// Whether the robot of this device id has a key of its own.
    pub async fn has_store_key(&self, device_id: &str) -> Result<bool, ReadError> {
        Ok(self.number(has_store_key(), &[&device_id]).await? > 0)
    }

    /// Robots that a switched-off shared key would keep from uploading: those in service, and of the others those that ever
    /// came.
    pub async fn keyless_robots(&self) -> Result<Vec<KeylessRobotRow>, ReadError> {
        self.rows(&keyless_robots(), &[]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("holder of a store key", store_key()),
        ("whether a robot has a store key", has_store_key().to_owned()),
        ("robots without a store key", keyless_robots()),
        ("login of the administrator", admin_password()),
        ("login of a person", person_login()),
        ("whether an account stands", account_stands().to_owned()),
        ("token of a recorder", recorder_token()),
    ]
}
