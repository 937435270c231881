//! Lists of routes: each with its policy beside it.
//!
//! A family of routes is a file with handlers and one list of them. [`Routes::at`] takes no route without a policy,
//! and the lists are all that the router, the description and everything around a route read.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::PathItem;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::AppState;
use super::policy::Policy;

#[derive(Default)]
pub struct Routes {
    router: OpenApiRouter<AppState>,
    policies: Policies,
}

impl Routes {
    pub fn described_by(description: OpenApi) -> Self {
        Self { router: OpenApiRouter::with_openapi(description), policies: Policies::default() }
    }

    /// One handler, as `routes!` gives it.
    pub fn at(mut self, policy: Policy, route: UtoipaMethodRouter<AppState>) -> Self {
        for (path, item) in &route.1.paths {
            for method in methods_of(item) {
                self.policies.add(method, path, policy);
            }
        }
        Self { router: self.router.routes(route), ..self }
    }

    /// The list of a family.
    pub fn with(mut self, family: Self) -> Self {
        for (path, policies) in family.policies.0 {
            self.policies.0.entry(path).or_default().extend(policies);
        }
        Self { router: self.router.merge(family.router), ..self }
    }

    /// A page that is served beside the lists, and not described.
    pub fn page(mut self, policy: Policy, path: &str) -> Self {
        self.policies.add(Method::GET, path, policy);
        self
    }

    pub fn split(self) -> (Router<AppState>, OpenApi, Policies) {
        let (router, description) = self.router.split_for_parts();
        (router, description, self.policies)
    }
}

fn methods_of(item: &PathItem) -> impl Iterator<Item = Method> {
    let methods = [
        (&item.get, Method::GET),
        (&item.post, Method::POST),
        (&item.put, Method::PUT),
        (&item.patch, Method::PATCH),
        (&item.delete, Method::DELETE),
    ];
    methods.into_iter().filter_map(|(operation, method)| operation.is_some().then_some(method))
}

/// The policy of every route, by the pattern of its path and its method.
#[derive(Default)]
pub struct Policies(HashMap<String, Vec<(Method, Policy)>>);

impl Policies {
    fn add(&mut self, method: Method, path: &str, policy: Policy) {
        self.0.entry(path.to_owned()).or_default().push((method, policy));
    }

    /// A method that no list names is answered like one that does not exist, and only to callers who are logged in.
    pub fn of(&self, method: &Method, path: &str) -> Policy {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let listed = self.0.get(path).and_then(|policies| policies.iter().find(|(known, _)| known == method));
        listed.map_or(Policy::READ, |(_, policy)| *policy)
    }
}

/// Outside of everything else: gives a request the policy of the route that it matches, if it matches one.
pub async fn matched(State(policies): State<Arc<Policies>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    if let Some(policy) = path.map(|path| policies.of(request.method(), path.as_str())) {
        request.extensions_mut().insert(policy);
    }
    next.run(request).await
}
