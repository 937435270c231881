//! Every route × every kind of caller, on the whole edge; `docs/access.md` is what came out.

use axum::http::Method;
use hyper::service::Service;

use super::AuthMode;
use super::auth::Identity;
use super::policy::{Access, Key, Limit, Policy, Recorded, Role};
use super::router::policies;
use super::router::tests::{DISPLAY_TOKEN, operations, request, served, state};
use crate::domain::device::LinkKind;
use crate::domain::{AccountId, AccountRole, CollectorId, InspectorId};

/// What a caller hears, as far as it depends on who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    LetIn,
    NotLoggedIn,
    NotForThisRole,
}

impl Heard {
    fn of(status: u16) -> Self {
        match status {
            401 => Self::NotLoggedIn,
            403 => Self::NotForThisRole,
            _ => Self::LetIn,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::LetIn => "yes",
            Self::NotLoggedIn => "401",
            Self::NotForThisRole => "403",
        }
    }
}

fn wanted(policy: &Policy, who: &Identity, mode: AuthMode) -> Heard {
    match (who.role(), policy.access) {
        // None of the callers here shows a link.
        (_, Access::Link) => Heard::NotLoggedIn,
        // Elsewhere a display's token is none at all.
        (Some(Role::Display), access) if !policy.is_for_screens() => wanted_of_nobody(access),
        (Some(role), _) if policy.roles.contains(role) => Heard::LetIn,
        (Some(_), _) => Heard::NotForThisRole,
        (None, Access::LoginUnlessCompat) if mode == AuthMode::Compat => Heard::LetIn,
        (None, access) => wanted_of_nobody(access),
    }
}

fn wanted_of_nobody(access: Access) -> Heard {
    match access {
        Access::Open => Heard::LetIn,
        Access::LoginUnlessCompat | Access::Login | Access::LoginOrLink | Access::LoginOrSecret | Access::Link => Heard::NotLoggedIn,
    }
}

fn key(policy: &Policy) -> &'static str {
    match policy.key {
        Key::NotTaken => "",
        Key::Answer => "answer",
        Key::SuccessOnly => "success",
        Key::RefusalOnly => "refusal",
    }
}

fn further(policy: &Policy) -> String {
    let bytes = policy.body_bytes_max.map(|bytes| format!("at most {} KiB", bytes >> 10));
    let socket = policy.passed_on.map(|socket| match socket {
        LinkKind::Recorder => "over the recorder's socket".to_owned(),
        LinkKind::Transfer => "over the uploader's socket".to_owned(),
    });
    let said = |so: bool, word: &str| so.then(|| word.to_owned());
    [
        said(policy.access == Access::LoginOrLink, "or a signed link"),
        said(policy.access == Access::LoginOrSecret, "or the subscription's secret"),
        said(policy.access == Access::Link, "only with a link for viewers"),
        said(policy.takes_cookie, "or the cookie of streams"),
        said(policy.error_key != "error", &format!("`{}`", policy.error_key)),
        bytes,
        socket,
        said(policy.waits_for_device, "waits for a device"),
        said(policy.probe, "a probe"),
        said(policy.limit == Limit::None && !policy.probe, "not counted"),
        said(policy.limit == Limit::Exports, "an export"),
        said(policy.records != Recorded::Nothing, "recorded"),
        said(!policy.pages_by_place, "pages by offset only"),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}

const HEAD: &str = "# Access

Every route, and what a caller hears. *yes*: the route is theirs; 401: a login is required; 403: it is for another role.
A robot's token opens sockets, and no route: it is as if there were none; so is a display's where it is not for displays. An account and an API key
of one role are the same here. *Reach* is what part of the site a route is about: `site`, the server itself and what is about all factories at once, refused with 403
(`outside_scope`) to who is for some factories only; `shared`, what all factories use: read by all, changed by who is for the whole site; `caller`, the caller
themselves; `scope`, what the caller's scope contains; `own robot`, the same, and for data collectors the robot of their own workstation. *Key* is what is kept of an answer where a request has an `Idempotency-Key`. *recorded*: who got the answer is in the [audit](audit.md);
*not counted*, and *an export*: against the [limits](operations.md#how-often-something-may-be-asked).

The page is written by the test that asks every route as every caller (`KEYSTONE_WRITE_DOCS=1 cargo test every_route_is_for_whom`);
the policies stand in the lists of `src/http`.

| Route | no login | no login, `compat` | robot's token | display | data collector | data inspector | production manager | auditor | admin | Reach | Key | |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

#[tokio::test]
async fn every_route_is_for_whom_its_policy_and_the_page_say() {
    let (strict, compat) = (state(AuthMode::Strict), state(AuthMode::Compat));
    let login = |who: &Identity| strict.tokens.login(who, strict.commands.now());
    let collector = Identity::Collector { id: CollectorId(1), operator_id: "op".into() };
    let inspector = Identity::Inspector { id: InspectorId(1), inspector_id: "in".into() };
    let account = |role| Identity::Account { role, id: AccountId(1) };
    let (manager, auditor) = (account(AccountRole::ProductionManager), account(AccountRole::Auditor));
    let robots = Some(format!("kws_v1_{}", "A".repeat(43)));
    let (at_strict, at_compat) = (served(&strict), served(&compat));
    let bearer = |token: Option<String>| token.map(|token| format!("Bearer {token}"));
    let (robots, login) = (bearer(robots), |who: &Identity| bearer(login(who)));
    let display = Some(format!("Display {DISPLAY_TOKEN}"));
    let callers = [
        (&at_strict, AuthMode::Strict, Identity::Anonymous, None),
        (&at_compat, AuthMode::Compat, Identity::Anonymous, None),
        (&at_strict, AuthMode::Strict, Identity::Anonymous, robots),
        (&at_strict, AuthMode::Strict, Identity::Display, display),
        (&at_strict, AuthMode::Strict, collector.clone(), login(&collector)),
        (&at_strict, AuthMode::Strict, inspector.clone(), login(&inspector)),
        (&at_strict, AuthMode::Strict, manager.clone(), login(&manager)),
        (&at_strict, AuthMode::Strict, auditor.clone(), login(&auditor)),
        (&at_strict, AuthMode::Strict, Identity::Admin, login(&Identity::Admin)),
    ];
    let policies = policies();
    let mut rows = vec![];
    for (method, path, _) in operations() {
        let policy = policies.of(&method.parse::<Method>().unwrap(), &path);
        let concrete = path.replace("{id}", "1").replace("{device_id}", "AB-1").replace("{filename}", "recorder.yaml");
        let mut cells = vec![format!("`{method} {path}`")];
        for (edge, mode, who, shown) in &callers {
            let mut asked = request(&method, &concrete, None, "");
            if let Some(shown) = shown {
                asked.headers_mut().insert("authorization", shown.parse().unwrap());
            }
            let heard = Heard::of(edge.call(asked).await.unwrap().status().as_u16());
            assert_eq!(heard, wanted(&policy, who, *mode), "{method} {path} as {}", who.name());
            cells.push(heard.as_str().to_owned());
        }
        cells.extend([policy.reach.as_str().replace('_', " "), key(&policy).to_owned(), further(&policy)]);
        rows.push((path, format!("| {} |\n", cells.join(" | "))));
    }
    rows.sort();
    let page = HEAD.to_owned() + &rows.into_iter().map(|(_, row)| row).collect::<String>();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/access.md");
    if std::env::var_os("KEYSTONE_WRITE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(known == page, "docs/access.md says something else; write it anew with KEYSTONE_WRITE_DOCS=1 and look at the difference");
}
