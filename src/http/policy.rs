//! What a route is, beside its path: who may ask, for what part of the site, and how request and answer are treated.
//!
//! A family says it in its list of routes ([`super::routes`]). Everything that stands around a route reads the policy
//! of the route that was matched; nothing there knows a path.

use axum::http::{Method, Uri};

use super::auth::Identity;
use super::problem::{Code, Problem};
use crate::commands::Refusal;
use crate::domain::device::LinkKind;
use crate::domain::{RefusalCode, Scope};
pub use crate::domain::{Role, Roles};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// A login; anybody in `compat` mode, as in older deployments.
    LoginUnlessCompat,
    /// A login.
    Login,
    /// A signed link, or a login. The route looks at the link itself.
    LoginOrLink,
    /// The secret of what it is about, as a bearer token, or a login. The route looks at the secret itself.
    LoginOrSecret,
    /// A signed link, which is part of the path. The route looks at it itself.
    Link,
}

const EVERYBODY: Roles = Roles::of(Role::ALL);
const ALL: Roles = EVERYBODY.without(Role::Display);
const MANAGERS: Roles = Roles::of(&[Role::Admin, Role::ProductionManager]);
const OPERATORS: Roles = MANAGERS.with(Role::DataCollector);
const JUDGES: Roles = MANAGERS.with(Role::DataInspector);
pub const ADMINS: Roles = Roles::of(&[Role::Admin]);
pub const COLLECTORS: Roles = Roles::of(&[Role::DataCollector]);
const WATCHERS: Roles = OPERATORS.with(Role::Display);

/// Which part of the site a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The server itself, and what is about all factories at once: for those who see the whole site.
    Site,
    /// What belongs to no factory, and all of them use, as skills and robot types: read by everybody, changed by those who see the whole site.
    Shared,
    /// The caller themselves.
    Caller,
    /// What the caller's scope contains.
    Scope,
    /// One robot: a data collector reaches that of their own workstation, and no other.
    OwnRobot,
}

impl Reach {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Shared => "shared",
            Self::Caller => "caller",
            Self::Scope => "scope",
            Self::OwnRobot => "own_robot",
        }
    }
}

/// Whether a route is for auditors, who stand in no list of roles: they read everything, and change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForAuditors {
    /// Where its method is `GET`.
    ByMethod,
    /// It only reads, whatever its method; or it is about the caller themselves.
    Yes,
    /// What it reads is the caller's own work, and an auditor has none.
    No,
}

/// What is kept of an answer to a request with an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The route takes no key.
    NotTaken,
    Answer,
    /// Only that it was done: the state of a device may be another one in a moment.
    SuccessOnly,
    /// Only that it was refused. What was done is answered anew from its outcome, because the answer tells a secret.
    RefusalOnly,
}

/// How requests are counted against the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Not at all: devices, which never ask again, and what watches us.
    None,
    Requests,
    /// As a request, and as an export beside that: each reads as much as there is.
    Exports,
}

/// What is recorded of a request that was answered, beside what it changed, which is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    Nothing,
    /// Who read what is known of people.
    PersonalData,
    /// Who took files away, many rows at once, or a link to them.
    Download,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub access: Access,
    /// Of those who are logged in.
    pub roles: Roles,
    pub auditors: ForAuditors,
    pub reach: Reach,
    /// Whether it changes nothing. Known from its method, unless it is said.
    pub reads: bool,
    pub key: Key,
    pub limit: Limit,
    pub records: Recorded,
    /// The key that holds the text of an error: the contract's.
    pub error_key: &'static str,
    /// Where the route takes less than the setting says.
    pub body_bytes_max: Option<usize>,
    /// The socket that only the process which holds it can speak over.
    pub passed_on: Option<LinkKind>,
    /// Whether the answer may wait for a device.
    pub waits_for_device: bool,
    /// Whether the answer may wait until objects are read.
    pub reads_objects: bool,
    /// Whether the cookie of streams is as good as a login.
    pub takes_cookie: bool,
    /// Asked every few seconds by what watches us, also with `HEAD`.
    pub probe: bool,
    /// Whether pages can be asked for by place, and not only by offset.
    pub pages_by_place: bool,
    /// Whether a query with names that the route does not have is refused. The contract's routes ignore them.
    pub exact_query: bool,
}

impl Policy {
    /// Read by everybody who is logged in. What no list names is no more open than this.
    pub const READ: Self = Self {
        access: Access::LoginUnlessCompat,
        roles: ALL,
        auditors: ForAuditors::ByMethod,
        reach: Reach::Scope,
        reads: false,
        key: Key::NotTaken,
        limit: Limit::Requests,
        records: Recorded::Nothing,
        error_key: "error",
        body_bytes_max: None,
        passed_on: None,
        waits_for_device: false,
        reads_objects: false,
        takes_cookie: false,
        probe: false,
        pages_by_place: true,
        exact_query: false,
    };
    /// Without a login.
    pub const OPEN: Self = Self { access: Access::Open, roles: EVERYBODY, auditors: ForAuditors::Yes, reach: Reach::Caller, ..Self::READ };
    /// What is about the caller themselves. Closed in `compat` mode, too.
    pub const OWN: Self = Self { access: Access::Login, ..Self::OPEN };
    /// Master data, orders and batches are made by production managers, and by administrators.
    pub const MANAGE: Self = Self { roles: MANAGERS, ..Self::READ };
    /// The server itself, and who may use it. Closed in `compat` mode, too.
    pub const ADMINISTER: Self = Self { roles: ADMINS, reach: Reach::Site, ..Self::READ }.closed();
    /// Reading who did what. Closed in `compat` mode, too: the log tells more than routes ever did.
    pub const AUDIT: Self = Self::ADMINISTER.exact();
    /// Telling a robot something.
    pub const OPERATE: Self = Self { roles: OPERATORS, reach: Reach::OwnRobot, key: Key::SuccessOnly, ..Self::READ };
    /// What is said at a workstation, by its data collector: which one that is, the command knows. Closed in `compat` mode, too.
    pub const SAY: Self = Self { roles: OPERATORS, ..Self::READ }.closed();
    /// What a data collector says of their own workstation. Closed in `compat` mode, too.
    pub const AT_WORK: Self = Self { roles: COLLECTORS, auditors: ForAuditors::No, ..Self::READ }.closed();
    /// Looking at how episodes were judged, and having them judged.
    pub const JUDGE: Self = Self { roles: JUDGES, ..Self::READ }.closed();

    /// Watching production, also on a screen on a wall.
    pub const WATCH: Self = Self { roles: WATCHERS, ..Self::READ }.closed();

    /// Closed in `compat` mode, too.
    pub const fn closed(self) -> Self {
        Self { access: Access::Login, ..self }
    }

    pub const fn or_link(self) -> Self {
        Self { access: Access::LoginOrLink, ..self }
    }

    pub const fn by_link(self) -> Self {
        Self { access: Access::Link, ..self }
    }

    pub const fn or_secret(self) -> Self {
        Self { access: Access::LoginOrSecret, ..self }
    }

    pub const fn or_cookie(self) -> Self {
        Self { takes_cookie: true, ..self }
    }

    pub const fn by(self, roles: Roles) -> Self {
        Self { roles, ..self }
    }

    /// What it reads is the caller's own work.
    pub const fn of_own_work(self) -> Self {
        Self { auditors: ForAuditors::No, ..self }
    }

    /// It changes nothing, whatever its method.
    pub const fn reading(self) -> Self {
        Self { auditors: ForAuditors::Yes, reads: true, ..self }
    }

    pub const fn of_the_site(self) -> Self {
        Self { reach: Reach::Site, ..self }
    }

    pub const fn shared(self) -> Self {
        Self { reach: Reach::Shared, ..self }
    }

    /// As it is for a method.
    pub fn with(self, method: &Method) -> Self {
        let reads = self.reads || method == Method::GET;
        let for_auditors = match self.auditors {
            ForAuditors::ByMethod => reads,
            ForAuditors::Yes => true,
            ForAuditors::No => false,
        };
        let roles = if for_auditors { self.roles.with(Role::Auditor) } else { self.roles.without(Role::Auditor) };
        Self { reads, roles, ..self }
    }

    pub const fn keyed(self) -> Self {
        self.keeping(Key::Answer)
    }

    pub const fn keeping(self, key: Key) -> Self {
        Self { key, ..self }
    }

    /// A device asks, or what watches us.
    pub const fn not_limited(self) -> Self {
        Self { limit: Limit::None, ..self }
    }

    pub const fn of_people(self) -> Self {
        Self { records: Recorded::PersonalData, ..self }
    }

    pub const fn download(self) -> Self {
        Self { records: Recorded::Download, ..self }
    }

    /// Everything that there is, in one answer.
    pub const fn export(self) -> Self {
        Self { limit: Limit::Exports, ..self }.download()
    }

    pub const fn saying(self, error_key: &'static str) -> Self {
        Self { error_key, ..self }
    }

    pub const fn at_most(self, bytes: usize) -> Self {
        Self { body_bytes_max: Some(bytes), ..self }
    }

    pub const fn over(self, socket: LinkKind) -> Self {
        Self { passed_on: Some(socket), ..self }
    }

    pub const fn waiting(self) -> Self {
        Self { waits_for_device: true, ..self }
    }

    pub const fn reading_objects(self) -> Self {
        Self { reads_objects: true, ..self }
    }

    pub const fn probed(self) -> Self {
        Self { probe: true, ..self }.not_limited()
    }

    pub const fn exact(self) -> Self {
        Self { exact_query: true, ..self }
    }

    pub const fn by_offset_only(self) -> Self {
        Self { pages_by_place: false, ..self }
    }

    /// Whether this caller has a role for the route. Who was let in without a login, because the site is in `compat`
    /// mode, may do what was open to everybody.
    pub fn admits(&self, who: &Identity) -> Result<(), Problem> {
        match who.role() {
            Some(role) if !self.roles.contains(role) => Err(needs(self.roles).of(who)),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the token of a screen is shown to it: to dashboards, and to nothing else. An account that is for a screen has a login like others.
    pub fn is_for_screens(&self) -> bool {
        self.roles.contains(Role::Display) && self.reach != Reach::Caller
    }

    /// Whether it reaches no further than what this caller sees. What belongs to a factory is looked at where it is read.
    pub fn lies_within(&self, scope: &Scope) -> Result<(), Problem> {
        let refused = |text: &str| Err(Refusal::new(RefusalCode::OutsideScope, text).into());
        match self.reach {
            _ if *scope == Scope::Everything => Ok(()),
            Reach::Site => refused("this is about the whole site, and the login is for some factories of it"),
            Reach::Shared if !self.reads => refused("all factories share this: it is changed by those who see the whole site"),
            Reach::Shared | Reach::Caller | Reach::Scope | Reach::OwnRobot => Ok(()),
        }
    }

    /// Whether a link opens the route by itself, and the request shows one.
    pub fn opened_by_link(&self, uri: &Uri) -> bool {
        match self.access {
            Access::Link => true,
            Access::LoginOrLink => uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("dl_token="))),
            Access::Open | Access::LoginUnlessCompat | Access::Login | Access::LoginOrSecret => false,
        }
    }

    /// The wire knows no `HEAD`; probes of load balancers do, and programs that download.
    pub fn takes_head(&self) -> bool {
        self.probe || matches!(self.access, Access::LoginOrLink | Access::Link)
    }

    pub fn takes_key(&self) -> bool {
        self.key != Key::NotTaken
    }
}

pub fn needs(roles: Roles) -> Problem {
    let words: Vec<&str> = roles.iter().map(Role::as_str).collect();
    Problem::new(Code::Forbidden, format!("this needs the role {}", words.join(" or ")))
}
