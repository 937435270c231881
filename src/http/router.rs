//! Every route, what surrounds them, and their description.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::security::{Flow, HttpAuthScheme, HttpBuilder, OAuth2, Password, Scopes, SecurityScheme};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::asked::Accepted;
use super::audit::recorded;
use super::auth::{access, guard, login, me, own_robot};
use super::console::{asset, door, icon};
use super::cors::readable;
use super::elsewhere::pass_on;
use super::extract::Json;
use super::idempotency::idempotent;
use super::intake::limited;
use super::limits::{of_callers, of_strangers};
use super::people::{accounts, api_keys, sessions};
use super::policy::Policy;
use super::registry::{
    cloud_assets, config_templates, data_collectors, factories, inspectors, organizations, robot_types, robots, scenes, skills, sops,
    subscenes,
};
use super::request::{around, unmatched};
use super::routes::{Policies, Routes, known_query, matched};
use super::words::EpisodeFileWord;
use super::{
    AppState, alerts, apply_suite, audit, batches, bulk_run_stream, bulk_runs, callbacks, certificates, copies, dashboard, data_ops,
    dead_letters, describe, device_stream, devices, episodes, event_stream, events, frames, gaps, health, inspection, log_tree, metrics,
    orders, outbox, outside_jobs, polling, production_statistics, qa, quality_dashboard, ranking, recorder, recorder_state, references,
    registration, requests, salvage, station_stream, stations, statistics, storage, subscriptions, suites, sync, tasks, timeline, transfer,
    viewer, what_if,
};

const DOCS: &str = "/api/v1/docs";
const DESCRIPTION: &str = "/api/v1/openapi.json";
/// Of the console.
const ICON: &str = "/icon.svg";
const ASSETS: &str = "/assets/{name}";
const LOGIN: &str = "/api/v1/auth/login";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keystone Edge",
        description = "The server of a robot-data factory: orders, batches, tasks, episodes, and the robots that make them.",
        license(name = "Apache-2.0")
    ),
    modifiers(&Login),
    // Stand in queries only, or in answers of many routes, and are not found there.
    components(schemas(EpisodeFileWord, Accepted)),
    security(("account" = []), ("login" = [])),
    tags(
        (name = "orders", description = "What was ordered"),
        (name = "batches", description = "Work given to a workstation"),
        (name = "tasks", description = "One recording each"),
        (name = "episodes", description = "Verified recordings"),
        (name = "statistics", description = "How much was made, of what and by whom"),
        (name = "events", description = "The event log: who did what, and what followed"),
        (name = "subscriptions", description = "Programs that are told of events, by webhook"),
        (name = "storage", description = "Their files"),
        (name = "registry", description = "What the factory consists of"),
        (name = "recorder", description = "Recorders, live"),
        (name = "transfer", description = "Uploaders, live"),
        (name = "devices", description = "Robots, live"),
        (name = "callbacks", description = "Posted by recorders"),
        (name = "login", description = "Who is asking"),
        (name = "people", description = "Who may use the server"),
        (name = "operation", description = "Running the server"),
    )
)]
struct Description;

struct Login;

impl utoipa::Modify for Login {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let login = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The `access_token` of a login."));
        components.add_security_scheme("login", SecurityScheme::Http(login.build()));
        // With which the page of the description asks for account and password, and logs in by itself.
        let account = Flow::Password(Password::new(LOGIN, Scopes::new()));
        components.add_security_scheme(
            "account",
            SecurityScheme::OAuth2(OAuth2::with_description([account], "Account and password; the rest stays empty.")),
        );
    }
}

/// Every family, with the pages that are served beside them.
fn routes() -> Routes {
    let families = [
        login::routes,
        me::routes,
        access::routes,
        factories::routes,
        organizations::routes,
        scenes::routes,
        subscenes::routes,
        skills::routes,
        sops::routes,
        robot_types::routes,
        robots::routes,
        cloud_assets::routes,
        registration::routes,
        config_templates::routes,
        data_collectors::routes,
        stations::routes,
        orders::routes,
        batches::routes,
        tasks::routes,
        statistics::routes,
        production_statistics::routes,
        dashboard::routes,
        quality_dashboard::routes,
        episodes::routes,
        events::routes,
        log_tree::routes,
        audit::routes,
        event_stream::routes,
        storage::routes,
        viewer::routes,
        callbacks::routes,
        recorder_state::routes,
        recorder::routes,
        requests::routes,
        salvage::routes,
        copies::routes,
        certificates::routes,
        transfer::routes,
        devices::routes,
        device_stream::routes,
        subscriptions::routes,
        polling::routes,
        dead_letters::routes,
        bulk_runs::routes,
        data_ops::routes,
        sync::routes,
        qa::routes,
        gaps::routes,
        references::routes,
        ranking::routes,
        inspection::routes,
        inspectors::routes,
        accounts::routes,
        api_keys::routes,
        sessions::routes,
        suites::routes,
        apply_suite::routes,
        outside_jobs::routes,
        alerts::routes,
        outbox::routes,
        what_if::routes,
        timeline::routes,
        frames::routes,
        bulk_run_stream::routes,
        station_stream::routes,
        health::routes,
        metrics::routes,
    ];
    let pages = [DESCRIPTION, DOCS, "/api/v1/docs/", "/api/v1/docs/{*rest}"];
    let listed = families.into_iter().fold(Routes::described_by(Description::openapi()), |all, family| all.with(family()));
    pages
        .into_iter()
        .fold(listed, |all, page| all.page(Policy::OPEN, page))
        .page(Policy::OPEN.probed(), "/")
        .page(Policy::OPEN, ICON)
        .page(Policy::OPEN, ASSETS)
}

/// The policy of every route.
#[cfg(test)]
pub fn policies() -> Policies {
    routes().split().2
}

/// The description of every route, without starting anything.
pub fn openapi() -> Value {
    let (_, openapi, policies) = routes().split();
    described(&openapi, &policies)
}

fn described(openapi: &utoipa::openapi::OpenApi, policies: &Policies) -> Value {
    describe::complete(serde_json::to_value(openapi).expect("a description of ours is JSON"), policies)
}

/// The whole edge. Serve it with [`serve_routes`](crate::listener::serve_routes), so that requests know where they
/// come from.
pub fn router(state: AppState) -> Router {
    let (router, openapi, policies) = routes().split();
    let docs = SwaggerUi::new(DOCS).config(Config::from(DESCRIPTION));
    let openapi = described(&openapi, &policies);
    let description = axum::routing::get(move || async move { Json(openapi) });
    let policies = Arc::new(policies);
    router
        .merge(docs)
        .route(DESCRIPTION, description)
        .route("/", axum::routing::get(door))
        .route(ICON, axum::routing::get(icon))
        .route(ASSETS, axum::routing::get(asset))
        .fallback(unmatched)
        .method_not_allowed_fallback(unmatched)
        .layer(from_fn_with_state(state.clone(), own_robot))
        .layer(from_fn_with_state(state.clone(), pass_on))
        .layer(from_fn_with_state(state.clone(), idempotent))
        .layer(from_fn(known_query))
        .layer(from_fn_with_state(state.clone(), limited))
        .layer(from_fn_with_state(state.clone(), of_callers))
        .layer(from_fn_with_state(state.clone(), guard))
        .layer(from_fn_with_state(state.clone(), of_strangers))
        .layer(from_fn_with_state(state.clone(), recorded))
        .layer(from_fn_with_state(state.clone(), around))
        .layer(axum::Extension(policies.clone()))
        .layer(from_fn_with_state(policies.clone(), readable))
        .layer(from_fn_with_state(policies, matched))
        .with_state(state)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use axum::response::Response;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::blobs::{self, Blobs};
    use crate::certificates::Certificates;
    use crate::commands::Commands;
    use crate::commands::inspection::InspectionTerms;
    use crate::commands::outside_jobs::OutsideLease;
    use crate::config::{Config, Secret};
    use crate::devices::Hub;
    use crate::domain::episode::Levels;
    use crate::domain::judgement::Suite;
    use crate::eventstore::EventStore;
    use crate::http::RequestLimits;
    use crate::http::auth::Identity;
    use crate::http::fleet::Fleet;
    use crate::http::objects::Objects;
    use crate::http::policy::Access;
    use crate::http::{AuthMode, EdgeSettings, Live, Means, StreamLimits};
    use crate::projections::reads::Reads;
    use crate::qa::{RunSettings, Runs};

    pub const DISPLAY_TOKEN: &str = "the-token-of-a-display";

    /// The whole edge over a database and a store that nobody answers for.
    pub fn state(auth_mode: AuthMode) -> AppState {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(1).connect_timeout(Duration::from_millis(200));
        let manager = deadpool_postgres::Manager::new(config, tokio_postgres::NoTls);
        let pool = deadpool_postgres::Pool::builder(manager).max_size(1).build().unwrap();
        let settings = EdgeSettings {
            sync: crate::http::SyncSettings::default(),
            auth_mode,
            callbacks_of_known_devices: false,
            jwt_secret: b"secret".to_vec(),
            jwt_issuer: "keystone-edge".into(),
            jwt_lifetime: Duration::from_secs(3600),
            link_lifetime: Duration::from_secs(900),
            viewer_lifetime: Duration::from_secs(14_400),
            lichtblick_url: Some("http://lichtblick.test".into()),
            admin_username: "admin".into(),
            display_token: Some(DISPLAY_TOKEN.into()),
            callback_base_url: "http://127.0.0.1:8080".into(),
            bucket: "edge-f".into(),
            body_bytes_max: 1000,
            request_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(5),
            device_response_timeout: Duration::from_secs(1),
            qa_timeout: Duration::from_secs(1),
            inspection: InspectionTerms { lease: Duration::from_secs(600), second_share: 0.0, levels: Levels::default() },
            outside: OutsideLease { lease: Duration::from_secs(60), attempts_max: 3 },
            device_finish_timeout: Duration::from_secs(2),
            endpoints: crate::http::endpoints::Endpoints {
                recorder: crate::http::endpoints::Endpoint { public_url: None, port: 8091, token_required: false },
                transfer: crate::http::endpoints::Endpoint { public_url: None, port: 8090, token_required: false },
            },
            store: crate::http::endpoints::Store { public_url: None, port: 9000, region: "us-east-1".into(), secret_of: None },
            secrets: vec![],
            registrations_per_minute: 30,
            refusals_per_minute_max: 10,
            requests: RequestLimits::new(1_000_000, 1_000_000, 1_000_000),
            streams: StreamLimits::new(100, 100),
        };
        let commands = Commands::new(EventStore::new(pool.clone(), crate::outbox::Wakes::default()));
        let measures: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(String::new);
        let reads = Reads::new(pool);
        let live =
            Live::new(&reads, &commands, settings.device_response_timeout, settings.streams, tokio_util::sync::CancellationToken::new());
        let access = blobs::Access {
            endpoint: "http://127.0.0.1:1".into(),
            public_endpoint: None,
            access_key: "key".into(),
            secret_key: Secret::new("secret"),
            local: None,
        };
        let blobs = Blobs::new(access, &Config::defaults().s3).unwrap();
        let run_settings = RunSettings { timeout: settings.qa_timeout, default_suite: Suite::default(), sidecar_bytes_max: 1 };
        let (runs, objects) = (Runs::new(commands.clone(), blobs.clone(), run_settings), Objects::new(blobs));
        let certificates = Certificates::new(reads.clone(), None);
        let log = certificates.log_signer("keystone-edge/test");
        let means = Means { fleet: Fleet::new(Hub::new()), objects, runs, certificates, log };
        AppState::new(commands, reads, means, live, settings, measures).unwrap()
    }

    pub fn served(state: &AppState) -> TowerToHyperService<Router> {
        TowerToHyperService::new(router(state.clone()))
    }

    async fn send(state: &AppState, request: Request<Body>) -> Response {
        served(state).call(request).await.unwrap()
    }

    pub fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(Body::from(body.to_owned())).unwrap()
    }

    async fn json_of(response: Response) -> (StatusCode, Value) {
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {:?}", String::from_utf8_lossy(&bytes))))
    }

    /// Every operation that is described: method and path pattern.
    pub fn operations() -> Vec<(String, String, Value)> {
        let description = openapi();
        let paths = description["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, item)| {
                let operations = item.as_object().unwrap().iter();
                operations.map(|(method, operation)| (method.to_uppercase(), path.clone(), operation.clone()))
            })
            .collect()
    }

    fn admin(state: &AppState) -> String {
        state.tokens.login(&Identity::Admin, state.commands.now()).unwrap()
    }

    #[tokio::test]
    async fn every_route_asks_for_a_login_but_the_listed_ones() {
        let edge = served(&state(AuthMode::Strict));
        let open: BTreeSet<(&str, &str)> = [
            ("POST", "/api/v1/auth/login"),
            ("POST", "/api/v1/auth/logout"),
            ("POST", "/api/v1/callbacks/start"),
            ("POST", "/api/v1/callbacks/finish"),
            ("POST", "/api/v1/devices/register"),
            ("GET", "/api/v1/robot_types/{id}/configs/{filename}"),
            ("GET", "/api/v1/health"),
            ("GET", "/api/v1/ready"),
            ("GET", "/metrics"),
        ]
        .into();
        let policies = policies();
        for (method, path, _) in operations() {
            let concrete = path.replace("{id}", "1").replace("{device_id}", "AB-1").replace("{filename}", "recorder.yaml");
            let response = edge.call(request(&method, &concrete, None, "")).await.unwrap();
            let closed = response.status() == StatusCode::UNAUTHORIZED;
            assert_eq!(closed, !open.contains(&(method.as_str(), path.as_str())), "{method} {path}: {}", response.status());
            let listed_open = policies.of(&method.parse().unwrap(), &path).access == Access::Open;
            assert_eq!(closed, !listed_open, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn compat_opens_what_was_open_and_keeps_the_rest_closed() {
        let edge = served(&state(AuthMode::Compat));
        let closed: BTreeSet<&str> = [
            "/api/v1/auth/me",
            "/api/v1/auth/me/access",
            "/api/v1/auth/me/password",
            "/api/v1/accounts",
            "/api/v1/accounts/{id}",
            "/api/v1/api-keys",
            "/api/v1/api-keys/{id}",
            "/api/v1/sessions",
            "/api/v1/sessions/end",
            "/api/v1/sessions/{id}",
            "/api/v1/episodes/{id}/presign",
            "/api/v1/episodes/{id}/viewer-link",
            "/api/v1/episodes/{id}/recording/{token}/{filename}",
            "/api/v1/storage/object",
            "/api/v1/events",
            "/api/v1/events/export",
            "/api/v1/events/stream",
            "/api/v1/events/{position}",
            "/api/v1/log/checkpoint",
            "/api/v1/log/checkpoints",
            "/api/v1/log/keys",
            "/api/v1/log/proofs/consistency",
            "/api/v1/log/proofs/inclusion",
            "/api/v1/log/tile/{path}",
            "/api/v1/audit",
            "/api/v1/audit/export",
            "/api/v1/batches/{id}/complete-tasks",
            "/api/v1/storage/presign",
            "/api/v1/tasks/statistics/breakdown",
            "/api/v1/tasks/{id}/accept-damaged",
            "/api/v1/tasks/{id}/verdict",
            "/api/v1/dead-letters",
            "/api/v1/dead-letters/counts",
            "/api/v1/dead-letters/replay",
            "/api/v1/dead-letters/replay/run",
            "/api/v1/data-ops/bulk-runs",
            "/api/v1/data-ops/episodes",
            "/api/v1/data-ops/episodes/bulk-qa",
            "/api/v1/data-ops/episodes/bulk-qa/preview",
            "/api/v1/data-ops/episodes/bulk-cleanup",
            "/api/v1/data-ops/episodes/bulk-cleanup/preview",
            "/api/v1/data-ops/episodes/bulk-sync",
            "/api/v1/data-ops/episodes/bulk-sync/preview",
            "/api/v1/data-ops/bulk-runs/current",
            "/api/v1/data-ops/bulk-runs/{run_id}",
            "/api/v1/data-ops/bulk-runs/{run_id}/items",
            "/api/v1/data-ops/bulk-runs/{run_id}/stream",
            "/api/v1/data-ops/bulk-runs/{run_id}/cancel",
            "/api/v1/dead-letters/replay/preview",
            "/api/v1/dead-letters/{id}",
            "/api/v1/dead-letters/{id}/replay",
            "/api/v1/dead-letters/{id}/resolve",
            "/api/v1/abandoned-executions",
            "/api/v1/certificates/keys",
            "/api/v1/episodes/{id}/certificate",
            "/api/v1/episodes/{id}/copies",
            "/api/v1/episodes/{id}/copies/look",
            "/api/v1/episodes/{id}/edge-copy",
            "/api/v1/episodes/{id}/edge-copy/restore",
            "/api/v1/episodes/{id}/frames",
            "/api/v1/episodes/{id}/salvage",
            "/api/v1/episodes/{id}/timeline",
            "PATCH /api/v1/episodes/{id}",
            "/api/v1/inspection/episodes/{id}/decide",
            "/api/v1/inspection/episodes/{id}/decisions",
            "/api/v1/inspection/episodes/{id}/release",
            "/api/v1/inspection/episodes/{id}/reopen",
            "/api/v1/inspection/episodes/{id}/take",
            "/api/v1/inspection/inspectors",
            "/api/v1/inspection/next",
            "/api/v1/inspection/queue",
            "/api/v1/inspectors",
            "/api/v1/inspectors/{id}",
            "/api/v1/qa/gaps",
            "/api/v1/qa/episodes",
            "/api/v1/alerts",
            "/api/v1/outbox/subscribers",
            "/api/v1/auth/me/station/break",
            "/api/v1/auth/me/station/end-break",
            "/api/v1/qa/episodes/{id}/checks",
            "/api/v1/qa/episodes/{id}/run",
            "/api/v1/qa/drift",
            "/api/v1/qa/ranking",
            "/api/v1/qa/references",
            "/api/v1/qa/references/{id}",
            "/api/v1/qa/outside-checks/{name}/claim",
            "/api/v1/qa/outside-jobs",
            "/api/v1/qa/outside-jobs/{id}",
            "/api/v1/qa/outside-jobs/{id}/heartbeat",
            "/api/v1/qa/outside-jobs/{id}/result",
            "/api/v1/qa/suites",
            "/api/v1/qa/suites/{id}",
            "/api/v1/qa/suites/{id}/activate",
            "/api/v1/qa/suites/{id}/apply",
            "/api/v1/qa/suites/{id}/apply/preview",
            "/api/v1/qa/suites/{id}/retire",
            "/api/v1/qa/suites/{id}/what-if",
            "/api/v1/admin/statistics/data-production/summary",
            "/api/v1/admin/statistics/data-production/trend",
            "/api/v1/admin/statistics/data-production/breakdown",
            "/api/v1/admin/statistics/data-production/details",
            "/api/v1/admin/statistics/data-production/export",
            "/api/v1/operator/statistics/data-production/summary",
            "/api/v1/operator/statistics/data-production/trend",
            "/api/v1/operator/statistics/data-production/breakdown",
            "/api/v1/production/dashboard/snapshot",
            "/api/v1/production/dashboard/overview",
            "/api/v1/production/dashboard/batches/{id}/task-summary",
            "/api/v1/dashboard/quality/summary",
            "/api/v1/dashboard/quality/breakdown",
            "/api/v1/dashboard/quality/topics",
            "/api/v1/dashboard/quality/inspectors",
            "/api/v1/stations/{id}/stream",
            "/api/v1/sync/config",
            "/api/v1/sync/destinations/{name}/pause",
            "/api/v1/sync/destinations/{name}/resume",
            "/api/v1/sync/episode-statuses",
            "/api/v1/sync/episodes",
            "/api/v1/sync/episodes/summary",
            "/api/v1/sync/episodes/{id}",
            "/api/v1/sync/episodes/{id}/logs",
            "/api/v1/sync/episodes/{id}/resync",
            "/api/v1/sync/episodes/{id}/status",
            "/api/v1/subscriptions",
            "/api/v1/subscriptions/{id}",
            "/api/v1/subscriptions/{id}/pause",
            "/api/v1/subscriptions/{id}/resume",
            "/api/v1/subscriptions/{id}/rotate-secret",
            "/api/v1/subscriptions/{id}/replay",
            "/api/v1/subscriptions/{id}/test",
            "/api/v1/subscriptions/{id}/deliveries",
            "/api/v1/subscriptions/{id}/redeliver",
            "/api/v1/subscriptions/{id}/poll",
            "/api/v1/subscriptions/{id}/ack",
            "/api/v1/robots/cloud-asset-options",
            "/api/v1/robots/{id}/cloud-asset",
            "/api/v1/robots/{id}/ws-client-auth-token/rotate",
            "/api/v1/robot_types/{id}/config_templates",
            "/api/v1/robot_types/{id}/config_templates/{filename}",
        ]
        .into();
        for (method, path, _) in operations() {
            let concrete = path.replace("{id}", "1").replace("{device_id}", "AB-1").replace("{filename}", "recorder.yaml");
            let response = edge.call(request(&method, &concrete, None, "")).await.unwrap();
            assert_eq!(
                response.status() == StatusCode::UNAUTHORIZED,
                closed.contains(path.as_str()) || closed.contains(format!("{method} {path}").as_str()),
                "{method} {path}: {}",
                response.status()
            );
        }
    }

    #[tokio::test]
    async fn a_signed_link_opens_no_other_route() {
        let state = state(AuthMode::Strict);
        let claims = crate::http::auth::tokens::ObjectClaims { bucket: "edge-f".into(), object: "a.mcap".into() };
        let link = state.tokens.link(claims, state.commands.now());
        assert_eq!(send(&state, request("GET", &format!("/api/v1/orders?dl_token={link}"), None, "")).await.status(), 401);
        assert_eq!(send(&state, request("GET", "/api/v1/orders", Some(&link), "")).await.status(), 401);
        let other = format!("/api/v1/storage/object?bucket=edge-f&object=b.mcap&dl_token={link}");
        let (status, body) = json_of(send(&state, request("GET", &other, None, "")).await).await;
        assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &"download_token_invalid".into()));
    }

    #[test]
    fn every_operation_is_described() {
        let operations = operations();
        let ids: BTreeSet<&str> = operations.iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), operations.len(), "two operations have one id");
        assert_eq!(operations.len(), 262, "routes were added or lost; change the number with the contract beside it");
        let mut names = BTreeSet::new();
        for (method, path, operation) in operations {
            let place = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{place} has no summary");
            assert!(operation.get("parameters").is_none_or(Value::is_array), "{place} has parameters that are no list");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{place} has no tag");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{place} never succeeds");
            for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let parameters = operation["parameters"].as_array().unwrap();
                assert!(parameters.iter().any(|p| p["name"] == part && p["in"] == "path"), "{place} does not describe {part}");
            }
            names.insert(place);
        }
        assert!(names.contains("GET /api/v1/orders/{id}"));
    }

    #[tokio::test]
    async fn the_description_and_its_page_are_served() {
        let state = state(AuthMode::Strict);
        let (status, body) = json_of(send(&state, request("GET", "/api/v1/openapi.json", None, "")).await).await;
        assert_eq!((status, &body["info"]["title"]), (StatusCode::OK, &"Keystone Edge".into()));
        let page = send(&state, request("GET", "/api/v1/docs/", None, "")).await;
        assert_eq!(page.status(), 200);
        let moved = send(&state, request("GET", "/api/v1/docs", None, "")).await;
        assert!(moved.status().is_redirection() || moved.status().is_success());
    }

    #[tokio::test]
    async fn the_address_alone_is_the_console_for_people_and_tells_probes_that_we_are_there() {
        let state = state(AuthMode::Strict);
        let ask = async |method: &str, accept: &str| {
            let mut asked = request(method, "/", None, "");
            asked.headers_mut().insert("accept", accept.parse().unwrap());
            let answer = send(&state, asked).await;
            (answer.status().as_u16(), to_bytes(answer.into_body(), 10_000).await.unwrap())
        };
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let (status, page) = ask("GET", browser).await;
        assert!(status == 200 && page.starts_with(b"<!doctype html>"), "{status} {page:?}");
        for accept in ["*/*", "application/json", ""] {
            assert_eq!(ask("GET", accept).await, (200, "ok\n".into()), "{accept:?}");
            assert_eq!(ask("HEAD", accept).await.0, 200, "{accept:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_plain_text() {
        let state = state(AuthMode::Strict);
        for (method, path) in [("GET", "/nothing"), ("DELETE", "/api/v1/health"), ("PATCH", "/api/v1/orders")] {
            let response = send(&state, request(method, path, Some(&admin(&state)), "")).await;
            assert_eq!(response.status(), 404, "{method} {path}");
            assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
        }
        assert_eq!(send(&state, request("GET", "/api/v1/orders/", None, "")).await.status(), 301);
    }

    #[tokio::test]
    async fn a_database_that_is_gone_is_said_and_not_hidden() {
        let state = state(AuthMode::Strict);
        let token = admin(&state);
        for (method, path, body) in [
            ("GET", "/api/v1/orders", ""),
            ("GET", "/api/v1/tasks/1", ""),
            ("POST", "/api/v1/callbacks/start", r#"{"task_id":"task_1"}"#),
            ("POST", "/api/v1/factories", r#"{"name":"F"}"#),
        ] {
            let response = send(&state, request(method, path, Some(&token), body)).await;
            assert!(response.headers().contains_key("retry-after"));
            let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
            let (status, body) = json_of(response).await;
            assert_eq!((status.as_u16(), &body["code"]), (503, &"unavailable".into()), "{method} {path}");
            assert_eq!(body["request_id"], request_id);
        }
        assert_eq!(send(&state, request("GET", "/api/v1/ready", None, "")).await.status(), 503);
        assert_eq!(send(&state, request("GET", "/api/v1/health", None, "")).await.status(), 200);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_with_its_own_code() {
        let state = state(AuthMode::Strict);
        let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(1000));
        let (status, body) = json_of(send(&state, request("POST", "/api/v1/factories", Some(&admin(&state)), &body)).await).await;
        assert_eq!((status, &body["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &"body_too_large".into()));
    }

    #[tokio::test]
    async fn the_administrator_is_known_and_a_collector_may_not_manage() {
        let state = state(AuthMode::Strict);
        let (_, me) = json_of(send(&state, request("GET", "/api/v1/auth/me", Some(&admin(&state)), "")).await).await;
        assert_eq!(me["name"], "Administrator");

        let collector = Identity::Collector { id: crate::domain::CollectorId(1), operator_id: "op".into() };
        let collector = state.tokens.login(&collector, state.commands.now()).unwrap();
        for path in ["/api/v1/factories", "/api/v1/orders", "/api/v1/batches", "/api/v1/stations", "/api/v1/data_collectors"] {
            assert_eq!(send(&state, request("POST", path, Some(&collector), "{}")).await.status(), 403, "{path}");
        }
    }

    #[tokio::test]
    async fn a_caller_may_name_the_request() {
        let state = state(AuthMode::Strict);
        let mut named = request("GET", "/api/v1/orders", None, "");
        named.headers_mut().insert("x-request-id", "shift-7".parse().unwrap());
        let (_, body) = json_of(send(&state, named).await).await;
        assert_eq!(body["request_id"], "shift-7");
    }
}
