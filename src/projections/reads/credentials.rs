//! Who may log in, and with what. Not a read model: secrets live beside the events.

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::account::scope_of;
use crate::domain::{
    AccountId, AccountRole, Actor, ApiKeyId, CollectorId, DeviceId, FactoryId, InspectorId, RobotId, Scope, SessionId, Timestamp,
};

row! {
    LoginRow {
        comparable: String = "n.comparable",
        subject: Option<String> = "p.subject",
        id: Option<i64> = "p.id",
        login_name: Option<String> = "p.login_name",
        name: Option<String> = "p.name",
        active: Option<bool> = "p.active",
        role: Option<AccountRole> = "p.role",
        factories: Option<Vec<FactoryId>> = "p.factories",
        password_hash: Option<String> = "k.password_hash",
        password_since: Option<Timestamp> = "k.changed_at",
    }
}

/// Whose account a name means.
#[derive(Clone, Debug)]
pub struct Login {
    /// The name as accounts are compared: all its spellings are one.
    pub comparable: String,
    /// Where there is such an account, with a password.
    pub person: Option<PersonLogin>,
}

/// A person who has a password.
#[derive(Clone, Debug)]
pub struct PersonLogin {
    pub whose: Holder,
    pub login_name: String,
    pub name: String,
    /// Whether they may sign in.
    pub active: bool,
    /// Those they see; none: the whole site.
    pub factories: Option<Vec<FactoryId>>,
    pub password: KeptPassword,
}

/// What is kept of a password.
#[derive(Clone, Debug)]
pub struct KeptPassword {
    pub hash: String,
    /// Tells it from another one. A better hash of the same password changes nothing of this.
    pub since: Timestamp,
}

impl LoginRow {
    fn person(self) -> Option<PersonLogin> {
        let id = self.id?;
        let whose = match self.subject?.as_str() {
            "data_collector" => Holder::Collector(CollectorId(id)),
            "inspector" => Holder::Inspector(InspectorId(id)),
            _ => Holder::Account(self.role?, AccountId(id)),
        };
        let password = KeptPassword { hash: self.password_hash?, since: self.password_since? };
        Some(PersonLogin {
            whose,
            login_name: self.login_name?,
            name: self.name?,
            active: self.active?,
            factories: self.factories,
            password,
        })
    }
}

/// Whose a login or a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The administrator of the settings.
    Administrator,
    Account(AccountRole, AccountId),
    Collector(CollectorId),
    Inspector(InspectorId),
    Key(AccountRole, ApiKeyId),
}

/// The same without what it is for, as it stands in `credentials`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub kind: &'static str,
    pub id: i64,
}

/// Kinds of subjects, each beside the word for one of them; the administrator, of whom there is one, has no number.
const SUBJECTS: [(&str, &str); 4] =
    [("account", "account"), ("data_collector", "collector"), ("inspector", "inspector"), ("api_key", "key")];

impl Subject {
    const ADMINISTRATOR: Self = Self { kind: "administrator", id: 0 };
    const ADMINISTRATOR_WORD: &'static str = "admin";

    /// From where it stands; none of a kind that this version does not know.
    pub fn stored(kind: &str, id: i64) -> Option<Self> {
        let known = SUBJECTS.iter().map(|(kind, _)| *kind).chain([Self::ADMINISTRATOR.kind]).find(|known| *known == kind)?;
        Some(Self { kind: known, id })
    }

    /// As people call it: `admin`, `collector:17`.
    pub fn name(&self) -> String {
        let known = SUBJECTS.iter().find(|(kind, _)| *kind == self.kind);
        known.map_or_else(|| Self::ADMINISTRATOR_WORD.to_owned(), |(_, word)| format!("{word}:{}", self.id))
    }

    /// As a unit is named: a kind and an id.
    pub fn entity(&self) -> String {
        format!("{}/{}", self.kind, self.id)
    }

    pub fn parse(name: &str) -> Option<Self> {
        if name == Self::ADMINISTRATOR_WORD {
            return Some(Self::ADMINISTRATOR);
        }
        let (word, id) = name.split_once(':')?;
        let (kind, _) = SUBJECTS.iter().find(|(_, known)| *known == word)?;
        Some(Self { kind, id: id.parse().ok().filter(|id| *id > 0)? })
    }
}

impl Holder {
    pub fn subject(&self) -> Subject {
        let (kind, id) = match self {
            Self::Administrator => return Subject::ADMINISTRATOR,
            Self::Account(_, id) => ("account", id.0),
            Self::Collector(id) => ("data_collector", id.0),
            Self::Inspector(id) => ("inspector", id.0),
            Self::Key(_, id) => ("api_key", id.0),
        };
        Subject { kind, id }
    }

    fn role(&self) -> Option<AccountRole> {
        match self {
            Self::Account(role, _) | Self::Key(role, _) => Some(*role),
            Self::Administrator | Self::Collector(_) | Self::Inspector(_) => None,
        }
    }

    /// Of who asked for a change; none: it was no person, or one without a login.
    pub fn of(actor: &Actor) -> Option<Self> {
        match actor {
            Actor::Admin => Some(Self::Administrator),
            Actor::Account(role, id) => Some(Self::Account(*role, *id)),
            Actor::Collector(id) => Some(Self::Collector(*id)),
            Actor::Inspector(id) => Some(Self::Inspector(*id)),
            Actor::Key(role, id) => Some(Self::Key(*role, *id)),
            Actor::Device(_) | Actor::Subscriber(_) | Actor::Anonymous | Actor::CommandLine | Actor::System => None,
        }
    }
}

/// What a login or a key was proven with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token given at this second since 1970, in this session; of a token that a process made for itself there is none.
    Token { issued_at: i64, session: Option<SessionId> },
    /// A key with this hash.
    Key { hash: String },
}

impl Proof {
    /// The session that a token is of.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Token { session, .. } => *session,
            Self::Key { .. } => None,
        }
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
        hash: String = "k.password_hash",
        since: Timestamp = "k.changed_at",
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

row! {
    StandingRow {
        factories: Option<Vec<FactoryId>> = "h.factories",
    }
}

impl StandingRow {
    fn scope(self) -> Scope {
        scope_of(&self.factories.map(|ids| ids.into_iter().collect()))
    }
}

/// Every kind of holder who may ask, with what they see. The whole site has no list of factories; of a person of an organization it is the one
/// factory of that. A role that is another one by now is not theirs any more.
const HOLDERS: &str = "(select 'administrator' as subject, 0::bigint as id, null::bigint[] as factories where $1 = 'administrator' and $2::bigint = 0
    union all select 'account', a.id, a.factories from accounts a where $1 = 'account' and a.id = $2 and a.status = 'active' and a.role = $3::text
    union all select 'data_collector', c.id, array[g.factory_id] from data_collectors c join organizations g on g.id = c.organization_id
        where $1 = 'data_collector' and c.id = $2 and c.status = 'active'
    union all select 'inspector', i.id, array[g.factory_id] from inspectors i join organizations g on g.id = i.organization_id
        where $1 = 'inspector' and i.id = $2 and i.status = 'active'
    union all select 'api_key', k.id, k.factories from api_keys k
        where $1 = 'api_key' and k.id = $2 and k.role = $3::text and k.revoked_at is null and coalesce(k.expires_at > $4::timestamptz, true)) h";

/// A password that is as old as the second in which a login was given was there before it. The administrator's is changed by the settings.
fn stands_by_token() -> String {
    format!(
        "select {} from {HOLDERS} left join credentials c on c.subject = $1 and c.subject_id = $2 \
         where coalesce(c.changed_at < to_timestamp($5::bigint + 1), $1 = 'administrator') \
             and ($6::bigint is null or exists (select from sessions s where s.id = $6 and s.ended_at is null and (s.subject, s.subject_id) = ($1, $2)))",
        StandingRow::columns()
    )
}

fn stands_by_key() -> String {
    format!(
        "select {} from {HOLDERS} join credentials c on c.subject = $1 and c.subject_id = $2 where c.password_hash = $5",
        StandingRow::columns()
    )
}

fn stands_later() -> String {
    format!("select {} from {HOLDERS}", StandingRow::columns())
}

fn person_login() -> String {
    format!(
        "select {} from (select comparable($1) as comparable) n \
         left join lateral (\
             select 'data_collector' as subject, c.id, c.operator_id as login_name, c.name, c.status = 'active' as active, null as role, array[g.factory_id] as factories \
                 from data_collectors c left join organizations g on g.id = c.organization_id where comparable(c.operator_id) = n.comparable \
             union all select 'inspector', i.id, i.inspector_id, i.name, i.status = 'active', null, array[g.factory_id] \
                 from inspectors i left join organizations g on g.id = i.organization_id where comparable(i.inspector_id) = n.comparable \
             union all select 'account', a.id, a.login_name, a.name, a.status = 'active', a.role, a.factories \
                 from accounts a where comparable(a.login_name) = n.comparable) p on true \
         left join credentials k on k.subject = p.subject and k.subject_id = p.id order by k.password_hash is null, p.subject, p.id limit 1",
        LoginRow::columns()
    )
}

impl Reads {
    /// The administrator's; none before the first start of a server.
    pub async fn admin_password(&self) -> Result<Option<KeptPassword>, ReadError> {
        let row: Option<AdminRow> = self.row(&admin_password(), &[]).await?;
        Ok(row.map(|AdminRow { hash, since }| KeptPassword { hash, since }))
    }

    pub async fn person_login(&self, name: &str) -> Result<Login, ReadError> {
        let row: Option<LoginRow> = self.row(&person_login(), &[&name]).await?;
        let comparable = row.as_ref().map_or_else(|| name.to_owned(), |row| row.comparable.clone());
        Ok(Login { comparable, person: row.and_then(LoginRow::person) })
    }

    /// What the holder sees and changes, where they may ask by this proof; none: they may not.
    pub async fn standing(&self, holder: &Holder, proof: &Proof, now: Timestamp) -> Result<Option<Scope>, ReadError> {
        let (Subject { kind, id }, role) = (holder.subject(), holder.role());
        let row: Option<StandingRow> = match proof {
            Proof::Token { issued_at, session } => self.row(&stands_by_token(), &[&kind, &id, &role, &now, issued_at, session]).await?,
            Proof::Key { hash } => self.row(&stands_by_key(), &[&kind, &id, &role, &now, hash]).await?,
        };
        Ok(row.map(StandingRow::scope))
    }

    /// The same of who asked for something a while ago, whatever proved it then.
    pub async fn standing_later(&self, holder: &Holder, now: Timestamp) -> Result<Option<Scope>, ReadError> {
        let Subject { kind, id } = holder.subject();
        let row: Option<StandingRow> = self.row(&stands_later(), &[&kind, &id, &holder.role(), &now]).await?;
        Ok(row.map(StandingRow::scope))
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
        ("whether a login stands", stands_by_token()),
        ("whether a key stands", stands_by_key()),
        ("whether an account stands", stands_later()),
        ("token of a recorder", recorder_token()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_called_as_it_is_asked_for() {
        for holder in [
            Holder::Administrator,
            Holder::Account(AccountRole::Auditor, AccountId(4)),
            Holder::Collector(CollectorId(17)),
            Holder::Inspector(InspectorId(3)),
            Holder::Key(AccountRole::Admin, ApiKeyId(5)),
        ] {
            let subject = holder.subject();
            assert_eq!(Subject::parse(&subject.name()), Some(subject));
            assert_eq!(Subject::stored(subject.kind, subject.id), Some(subject));
        }
        assert_eq!((Holder::of(&Actor::System), Subject::stored("recorder", 1)), (None, None));
        for text in ["", "account", "account:", "account:0", "account:-1", "account:x", "king:1", "administrator:0"] {
            assert_eq!(Subject::parse(text), None, "{text}");
        }
    }
}
