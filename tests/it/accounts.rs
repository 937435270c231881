//! Accounts, API keys and sessions: who gets in, with what, until when, and what they may do then.

use serde_json::{Value, json};

use crate::harness::edge::{Answer, TestEdge, number};

const PASSWORD: &str = "a password of one's own";

fn texts((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

impl TestEdge {
    async fn account(&self, login_name: &str, role: &str, factories: Value) -> Value {
        let new = json!({"login_name": login_name, "name": login_name, "role": role, "factories": factories, "password": PASSWORD});
        self.create("/api/v1/accounts", new).await["id"].clone()
    }

    async fn token(&self, login_name: &str) -> String {
        let (status, login) = self.log_in(login_name, PASSWORD).await;
        assert_eq!(status, 200, "{login}");
        login["access_token"].as_str().unwrap().to_owned()
    }

    async fn key(&self, role: &str, more: Value) -> (i64, String) {
        let mut new = json!({"name": "a program", "role": role});
        new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let issued = self.create("/api/v1/api-keys", new).await;
        (number(&issued["id"]), issued["api_key"].as_str().unwrap().to_owned())
    }

    /// Who caused the events of a type, and with which role.
    async fn who(&self, event_type: &str) -> Vec<(String, String)> {
        let client = self.database.pool.get().await.unwrap();
        let sql = "select metadata->>'actor', metadata->>'role' from events where event_type = $1 order by seq";
        client.query(sql, &[&event_type]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send_as(token, "GET", path, Value::Null).await
    }
}

#[tokio::test]
async fn each_role_signs_in_and_does_what_it_is_for() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    for role in ["admin", "production_manager", "auditor", "display"] {
        let id = edge.account(&format!("the-{role}"), role, Value::Null).await;
        let (status, login) = edge.log_in(&format!("THE-{role}"), PASSWORD).await;
        assert_eq!((status, &login["role"], &login["collector"]), (200, &json!(role), &Value::Null));
        assert_eq!(login["account"], json!({"id": id, "login_name": format!("the-{role}"), "name": format!("the-{role}")}));
        let token = login["access_token"].as_str().unwrap();
        let (_, me) = edge.get_as(token, "/api/v1/auth/me").await;
        assert_eq!((&me["role"], &me["collector_id"], me.get("factories")), (&json!(role), &Value::Null, None));

        let batch = edge.send_as(token, "POST", "/api/v1/batches", seed.batch(1)).await;
        let orders = edge.get_as(token, "/api/v1/orders").await.0;
        let log = edge.get_as(token, "/api/v1/events?limit=1").await.0;
        let accounts = edge.get_as(token, "/api/v1/accounts").await.0;
        let dashboard = edge.get_as(token, "/api/v1/production/dashboard/snapshot").await.0;
        let found = (batch.0, orders, log, accounts, dashboard);
        let expected = match role {
            "admin" => (201, 200, 200, 200, 200),
            "production_manager" => (201, 200, 403, 403, 200),
            "auditor" => (403, 200, 200, 200, 200),
            _ => (403, 403, 403, 403, 200),
        };
        assert_eq!(found, expected, "{role}: {}", batch.1);
    }
    // Who made a batch stands in its event.
    assert_eq!(
        edge.who("batch_created").await,
        [("user:admin:1", "admin"), ("user:production_manager:2", "production_manager")].map(texts)
    );
}

#[tokio::test]
async fn an_auditor_reads_by_whatever_method_and_changes_nothing() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    edge.account("auditor", "auditor", Value::Null).await;
    let token = edge.token("auditor").await;
    let looked_up = edge.send_as(&token, "POST", "/api/v1/stations/lookup", json!({"workstation_ids": [seed.station]})).await;
    assert_eq!((looked_up.0, looked_up.1["stations"].as_array().unwrap().len()), (200, 1));
    let preview = edge.send_as(&token, "POST", "/api/v1/data-ops/episodes/bulk-qa/preview", json!({"filters": {}})).await;
    assert_eq!(preview.0, 200, "{}", preview.1);
    for (method, path) in [
        ("POST", "/api/v1/orders"),
        ("PUT", "/api/v1/factories/1"),
        ("DELETE", "/api/v1/orders/1"),
        ("POST", "/api/v1/data-ops/episodes/bulk-qa"),
        ("POST", "/api/v1/api-keys"),
        ("POST", "/api/v1/recorder/AB-F0001-T0001-000001/pause"),
    ] {
        assert_eq!(code(&edge.send_as(&token, method, path, json!({})).await), (403, "forbidden"), "{method} {path}");
    }
}

#[tokio::test]
async fn an_account_that_is_disabled_deleted_or_given_another_password_or_role_opens_nothing() {
    let edge = TestEdge::start().await;
    for (name, change) in [
        ("a", json!({"status": "disabled"})),
        ("b", json!({"password": "another password of one's own"})),
        ("c", json!({"role": "auditor"})),
    ] {
        let id = number(&edge.account(name, "production_manager", Value::Null).await);
        let token = edge.token(name).await;
        assert_eq!(edge.get_as(&token, "/api/v1/orders").await.0, 200);
        // At once: in the same second as the login, too.
        let (status, changed) = edge.send_as(&edge.admin, "PUT", &format!("/api/v1/accounts/{id}"), change).await;
        assert_eq!(status, 200, "{changed}");
        assert_eq!(code(&edge.get_as(&token, "/api/v1/orders").await), (401, "unauthenticated"), "{name}");
    }
    assert_eq!(code(&edge.log_in("a", PASSWORD).await), (401, "login_refused"));
    assert_eq!(code(&edge.log_in("b", PASSWORD).await), (401, "login_refused"));
    assert_eq!(edge.log_in("b", "another password of one's own").await.0, 200);
    assert_eq!(edge.log_in("c", PASSWORD).await.1["role"], "auditor");

    let id = number(&edge.account("d", "admin", Value::Null).await);
    let token = edge.token("d").await;
    assert_eq!(edge.send_as(&edge.admin, "DELETE", &format!("/api/v1/accounts/{id}"), Value::Null).await.0, 204);
    assert_eq!(edge.get_as(&token, "/api/v1/orders").await.0, 401);
    assert_eq!(edge.log_in("d", PASSWORD).await.0, 401);
    assert_eq!(code(&edge.get(&format!("/api/v1/accounts/{id}")).await), (404, "not_found"));
    let again = edge.send_as(&edge.admin, "DELETE", &format!("/api/v1/accounts/{id}"), Value::Null).await;
    assert_eq!(code(&again), (404, "account_not_found"));
    // The name is free.
    edge.account("d", "display", Value::Null).await;
}

/// A login takes as long as a password is compared, and by then it may be another one.
#[tokio::test]
async fn no_session_of_a_password_outlives_it_whenever_it_began() {
    let edge = TestEdge::start().await;
    let id = number(&edge.account("racer", "auditor", Value::Null).await);
    let (mut before, mut began) = (PASSWORD.to_owned(), 0);
    for round in 0..8 {
        let after = format!("another password of one's own {round}");
        let change = json!({"password": after});
        let path = format!("/api/v1/accounts/{id}");
        let change = async {
            tokio::time::sleep(std::time::Duration::from_millis(15 * round)).await;
            edge.send_as(&edge.admin, "PUT", &path, change).await
        };
        let logins = futures_util::future::join_all((0..4).map(|_| edge.log_in("racer", &before)));
        let (logins, changed) = futures_util::future::join(logins, change).await;
        assert_eq!(changed.0, 200, "{}", changed.1);
        for (status, login) in logins {
            assert!([200, 401].contains(&status), "{login}");
            let Some(token) = login["access_token"].as_str() else { continue };
            began += 1;
            assert_eq!(edge.get_as(token, "/api/v1/orders").await.0, 401, "round {round}");
        }
        before = after;
    }
    assert!(began > 0, "each login was refused: nothing was tried");
}

/// MN-18: nobody takes the administrator's name, and nobody that of another kind of account.
#[tokio::test]
async fn mn_18_a_login_name_is_one_persons_among_all_kinds() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let inspector = json!({"organization_id": seed.organization, "name": "I", "inspector_id": "in", "password": PASSWORD});
    edge.create("/api/v1/inspectors", inspector.clone()).await;
    edge.account("boss", "admin", Value::Null).await;
    let account = |name: &str| json!({"login_name": name, "name": "x", "role": "auditor", "password": PASSWORD});
    for taken in ["Admin", " LI ", "IN", "Boss"] {
        let refused = edge.post("/api/v1/accounts", account(taken)).await;
        assert_eq!(refused.0, 400, "{taken}: {}", refused.1);
    }
    let collector = json!({"organization_id": seed.organization, "name": "x", "operator_id": "BOSS", "password": PASSWORD});
    assert_eq!(code(&edge.post("/api/v1/data_collectors", collector).await), (400, "name_taken"));
    let mut inspector = inspector;
    inspector["inspector_id"] = json!("boss");
    assert_eq!(code(&edge.post("/api/v1/inspectors", inspector).await), (400, "name_taken"));
    // Of several at once, of all kinds, one has it.
    let (edge, organization) = (&edge, &seed.organization);
    let asked: Vec<Answer> = futures_util::future::join_all((0..12).map(|n| async move {
        let (path, new) = match n % 3 {
            0 => ("accounts", account("rush")),
            1 => ("data_collectors", json!({"organization_id": organization, "name": "x", "operator_id": "rush", "password": PASSWORD})),
            _ => ("inspectors", json!({"organization_id": organization, "name": "x", "inspector_id": "rush", "password": PASSWORD})),
        };
        edge.post(&format!("/api/v1/{path}"), new).await
    }))
    .await;
    let made = asked.iter().filter(|answer| answer.0 == 201).count();
    let refused = asked.iter().filter(|answer| code(answer) == (400, "name_taken")).count();
    assert_eq!((made, refused), (1, 11), "{asked:?}");
}

#[tokio::test]
async fn a_session_ends_when_one_logs_out_or_it_is_ended() {
    let edge = TestEdge::start().await;
    let id = number(&edge.account("manager", "production_manager", Value::Null).await);
    let (first, second) = (edge.token("manager").await, edge.token("manager").await);
    let (_, own) = edge.get_as(&first, "/api/v1/sessions").await;
    assert_eq!(own["total"], 2, "{own}");
    let current: Vec<bool> = own["items"].as_array().unwrap().iter().map(|session| session["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [false, true]);
    assert!(
        own["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|session| session["who"] == format!("account:{id}") && session["address"] == "127.0.0.1")
    );
    let refused = edge.get_as(&first, "/api/v1/sessions?who=admin").await;
    assert_eq!(code(&refused), (403, "outside_scope"));

    assert_eq!(edge.send_as(&first, "POST", "/api/v1/auth/logout", Value::Null).await.0, 200);
    assert_eq!(code(&edge.get_as(&first, "/api/v1/orders").await), (401, "unauthenticated"));
    assert_eq!(edge.get_as(&second, "/api/v1/orders").await.0, 200, "the other one goes on");

    let of_second = edge.get_as(&second, "/api/v1/sessions").await.1["items"][0]["id"].as_i64().unwrap();
    let administrators = edge.get("/api/v1/sessions?who=admin").await.1["items"][0]["id"].as_i64().unwrap();
    let not_theirs = edge.send_as(&second, "DELETE", &format!("/api/v1/sessions/{administrators}"), Value::Null).await;
    assert_eq!(code(&not_theirs), (404, "session_not_found"));
    assert_eq!(edge.send_as(&edge.admin, "DELETE", &format!("/api/v1/sessions/{of_second}"), Value::Null).await.0, 204);
    assert_eq!(edge.get_as(&second, "/api/v1/orders").await.0, 401);

    let (third, fourth) = (edge.token("manager").await, edge.token("manager").await);
    let ended = edge.post("/api/v1/sessions/end", json!({"who": format!("account:{id}")})).await;
    assert_eq!(ended, (200, json!({"ended": 2})));
    for token in [third, fourth] {
        assert_eq!(edge.get_as(&token, "/api/v1/orders").await.0, 401);
    }
    let fifth = edge.token("manager").await;
    assert_eq!(edge.send_as(&fifth, "POST", "/api/v1/sessions/end", Value::Null).await.1["ended"], 1);
    assert_eq!(edge.get_as(&fifth, "/api/v1/orders").await.0, 401);
    assert_eq!(edge.get("/api/v1/orders").await.0, 200, "the administrator's was not meant");
    // As clients expect that were there before.
    assert_eq!(edge.post("/api/v1/auth/logout", Value::Null).await.0, 200);
    assert_eq!(edge.get("/api/v1/orders").await.0, 200);
    assert_eq!(edge.post("/api/v1/sessions/end", Value::Null).await, (200, json!({"ended": 1})));
    assert_eq!(edge.get("/api/v1/orders").await.0, 401);
}

#[tokio::test]
async fn one_chooses_another_password_and_signs_in_with_that() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let inspector = json!({"organization_id": seed.organization, "name": "I", "inspector_id": "in", "password": PASSWORD});
    edge.create("/api/v1/inspectors", inspector).await;
    edge.account("manager", "production_manager", Value::Null).await;
    let long = "a sentence that is much longer than what bcrypt ever looked at, by quite some words".to_owned();
    let change = |current: &str| json!({"current_password": current, "new_password": long});
    for (name, password) in [("manager", PASSWORD), ("in", PASSWORD), ("li", "li's password")] {
        let token = edge.log_in(name, password).await.1["access_token"].as_str().unwrap().to_owned();
        let wrong = edge.send_as(&token, "PUT", "/api/v1/auth/me/password", change("not it")).await;
        assert_eq!(code(&wrong), (401, "login_refused"), "{name}");
        let changed = edge.send_as(&token, "PUT", "/api/v1/auth/me/password", change(password)).await;
        assert_eq!(changed.0, 204, "{name}: {}", changed.1);
        assert_eq!(code(&edge.log_in(name, password).await), (401, "login_refused"), "{name}");
        assert_eq!(code(&edge.log_in(name, &long[..72]).await), (401, "login_refused"), "{name}: all of it counts");
        assert_eq!(edge.log_in(name, &long).await.0, 200, "{name}");
    }
    let admin = edge.send_as(&edge.admin, "PUT", "/api/v1/auth/me/password", change("open sesame")).await;
    assert_eq!(code(&admin), (403, "forbidden"));
}

/// Hashes of the contract, moved over from another server, open their accounts and are kept anew.
#[tokio::test]
async fn what_bcrypt_kept_opens_and_is_kept_by_argon2_from_then_on() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    let client = edge.database.pool.get().await.unwrap();
    let hash = bcrypt::hash("li's old password", 4).unwrap();
    client.execute("update credentials set password_hash = $1 where subject = 'data_collector'", &[&hash]).await.unwrap();
    let token = edge.log_in("li", "li's old password").await.1["access_token"].as_str().unwrap().to_owned();
    let kept: String =
        client.query_one("select password_hash from credentials where subject = 'data_collector'", &[]).await.unwrap().get(0);
    assert!(kept.starts_with("$argon2id$"), "{kept}");
    assert_eq!(edge.log_in("li", "li's old password").await.0, 200);
    assert_eq!(edge.get_as(&token, "/api/v1/orders").await.0, 200, "the session goes on");
    assert_eq!(edge.log_in("li", "li's password").await.0, 401);
}

#[tokio::test]
async fn a_key_opens_what_its_role_does_until_it_is_revoked_or_expires() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let (id, key) = edge.key("production_manager", json!({})).await;
    assert!(key.starts_with(&format!("kak_v1_production_manager_{id}_")), "{key}");
    let (_, me) = edge.get_as(&key, "/api/v1/auth/me").await;
    assert_eq!((&me["role"], &me["name"]), (&json!("production_manager"), &json!("a program")));
    let (status, batch) = edge.send_as(&key, "POST", "/api/v1/batches", seed.batch(1)).await;
    assert_eq!(status, 201, "{batch}");
    assert_eq!(code(&edge.get_as(&key, "/api/v1/api-keys").await), (403, "forbidden"));
    let actor = format!("key:production_manager:{id}");
    assert_eq!(edge.who("batch_created").await, [texts((&actor, "production_manager"))]);

    let (_, shown) = edge.get(&format!("/api/v1/api-keys/{id}")).await;
    assert!(shown["last_used_at"].is_string() && shown["last_used_from"] == "127.0.0.1", "{shown}");
    // Neither an answer nor an event has the secret.
    let secret = key.rsplit_once('_').map(|(_, end)| end.to_owned()).unwrap();
    let (_, listed) = edge.get("/api/v1/api-keys?ended=true").await;
    let client = edge.database.pool.get().await.unwrap();
    let told: i64 =
        client.query_one("select count(*) from events where payload::text like '%' || $1 || '%'", &[&secret]).await.unwrap().get(0);
    assert!(!listed.to_string().contains(&secret) && told == 0);

    // One that says it is more, or another, is none.
    for wrong in [
        key.replace("production_manager", "admin"),
        key.replace(&format!("_{id}_"), &format!("_{}_", id + 1)),
        format!("{}x", &key[..key.len() - 1]),
        key[..key.len() - 1].to_owned(),
    ] {
        let path = if wrong.contains("admin") { "/api/v1/api-keys" } else { "/api/v1/orders" };
        assert_eq!(code(&edge.get_as(&wrong, path).await), (401, "unauthenticated"), "{wrong}");
    }
    assert_eq!(edge.send_as(&edge.admin, "DELETE", &format!("/api/v1/api-keys/{id}"), Value::Null).await.0, 204);
    assert_eq!(code(&edge.get_as(&key, "/api/v1/orders").await), (401, "unauthenticated"));
    assert_eq!(edge.send_as(&edge.admin, "DELETE", &format!("/api/v1/api-keys/{id}"), Value::Null).await.0, 204, "it stays so");
    assert_eq!(edge.get("/api/v1/api-keys").await.1["total"], 0);
    assert!(edge.get("/api/v1/api-keys?ended=true").await.1["items"][0]["revoked_at"].is_string());

    let soon = chrono::Utc::now() + chrono::TimeDelta::milliseconds(1500);
    let (_, short) = edge.key("auditor", json!({"expires_at": soon})).await;
    assert_eq!(edge.get_as(&short, "/api/v1/orders").await.0, 200);
    tokio::time::sleep(std::time::Duration::from_millis(1600)).await;
    assert_eq!(edge.get_as(&short, "/api/v1/orders").await.0, 401);
    let past = json!({"name": "x", "role": "auditor", "expires_at": "2020-01-01T00:00:00Z"});
    assert_eq!(edge.post("/api/v1/api-keys", past).await.1["field"], "expires_at");
}

#[tokio::test]
async fn a_key_of_a_display_shows_dashboards_by_either_scheme() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    let (_, key) = edge.key("display", json!({})).await;
    let path = "/api/v1/production/dashboard/snapshot";
    assert_eq!(edge.get_as(&key, path).await.0, 200);
    let shown = edge.request("", "GET", path).header("authorization", format!("Display {key}")).send().await.unwrap();
    assert_eq!(shown.status(), 200);
    assert_eq!(edge.get_as(&key, "/api/v1/orders").await.0, 403);
}

/// A key is shown once, so a client that got no answer asks with the same `Idempotency-Key`, and gets the same key.
#[tokio::test]
async fn a_key_that_is_asked_for_again_is_the_same_key() {
    let edge = TestEdge::start().await;
    let ask = async |key: &str| {
        let request = edge.request(&edge.admin, "POST", "/api/v1/api-keys").header("idempotency-key", key);
        request.json(&json!({"name": "lake", "role": "auditor"})).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let (first, again, other) = (ask("3f0c8f9e-4a4e-4d0e").await, ask("3f0c8f9e-4a4e-4d0e").await, ask("another").await);
    assert_eq!((&first["api_key"], &first["id"]), (&again["api_key"], &again["id"]));
    assert_ne!(first["api_key"], other["api_key"]);
    assert_eq!(edge.get("/api/v1/api-keys").await.1["total"], 2);
}

#[tokio::test]
async fn accounts_and_keys_are_for_factories_that_there_are() {
    let edge = TestEdge::start().await;
    for (body, field) in [
        (json!({"factories": []}), "factories"),
        (json!({"factories": ["1"], "whole_site": true}), "whole_site"),
        (json!({"whole_site": false}), "factories"),
        (json!({"role": "king"}), "role"),
        (json!({"role": "data_collector"}), "role"),
    ] {
        let mut account = json!({"login_name": "x", "name": "x", "role": "admin", "password": PASSWORD});
        account.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let (status, refused) = edge.post("/api/v1/accounts", account).await;
        assert_eq!((status, &refused["field"]), (400, &json!(field)), "{body}: {refused}");
    }
    let nowhere = json!({"login_name": "x", "name": "x", "role": "admin", "password": PASSWORD, "factories": [77]});
    assert_eq!(code(&edge.post("/api/v1/accounts", nowhere).await), (400, "factory_not_found"));
    let key = json!({"name": "x", "role": "admin", "factories": [77]});
    assert_eq!(code(&edge.post("/api/v1/api-keys", key).await), (400, "factory_not_found"));
    let id = number(&edge.account("y", "admin", Value::Null).await);
    assert_eq!(code(&edge.send_as(&edge.admin, "PUT", &format!("/api/v1/accounts/{id}"), json!({})).await), (400, "nothing_to_change"));
}

/// Nothing in the answer tells whether there is such an account; its time is the same, too, to what a network blurs.
#[tokio::test]
async fn a_refused_login_does_not_tell_whether_there_is_an_account() {
    let edge = TestEdge::start().await;
    edge.account("manager", "production_manager", Value::Null).await;
    let mut seen = vec![];
    for name in ["manager", "no-such-manager", "admin"] {
        let began = std::time::Instant::now();
        let (status, mut body) = edge.log_in(name, "not the password").await;
        body["request_id"] = Value::Null;
        assert!(began.elapsed() >= std::time::Duration::from_millis(290), "{name}: {:?}", began.elapsed());
        seen.push((status, body));
    }
    assert!(seen.iter().all(|answer| *answer == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn mn_15_no_password_is_built_in() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    for (path, new) in [
        ("data_collectors", json!({"organization_id": seed.organization, "name": "x", "operator_id": "bare"})),
        ("accounts", json!({"login_name": "bare", "name": "x", "role": "admin"})),
    ] {
        let (status, refused) = edge.post(&format!("/api/v1/{path}"), new).await;
        assert_eq!((status, &refused["field"]), (400, &json!("password")), "{path}");
    }
    // An inspector without one is known, and cannot sign in.
    let inspector = json!({"organization_id": seed.organization, "name": "x", "inspector_id": "bare"});
    edge.create("/api/v1/inspectors", inspector).await;
    for guessed in ["123456", "bare", "password"] {
        assert_eq!(code(&edge.log_in("bare", guessed).await), (401, "login_refused"), "{guessed}");
    }
}

#[tokio::test]
async fn mn_17_a_password_counts_as_it_was_typed() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let typed = "  outer blanks \u{3000}";
    edge.create(
        "/api/v1/data_collectors",
        json!({"organization_id": seed.organization, "name": "x", "operator_id": "wu", "password": typed}),
    )
    .await;
    edge.create("/api/v1/accounts", json!({"login_name": "chen", "name": "x", "role": "auditor", "password": typed})).await;
    for name in ["wu", "chen"] {
        assert_eq!(edge.log_in(name, typed).await.0, 200, "{name}");
        assert_eq!(code(&edge.log_in(name, typed.trim()).await), (401, "login_refused"), "{name}");
    }
}

#[tokio::test]
async fn mn_20_who_has_no_login_changes_no_registry_and_lists_no_people() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    for entry in [
        "organizations",
        "factories",
        "scenes",
        "subscenes",
        "skills",
        "sops",
        "robot_types",
        "robots",
        "data_collectors",
        "inspectors",
        "stations",
        "accounts",
        "api-keys",
    ] {
        let of_one = format!("/api/v1/{entry}/1");
        let list = format!("/api/v1/{entry}");
        for (method, path) in [("GET", &list), ("POST", &list), ("GET", &of_one), ("PUT", &of_one), ("DELETE", &of_one)] {
            let known = method != "PUT" || entry != "api-keys";
            let answer = edge.send_as("", method, path, if method == "GET" { Value::Null } else { json!({}) }).await;
            assert!(!known || code(&answer) == (401, "unauthenticated"), "{method} {path}: {answer:?}");
        }
    }
}
