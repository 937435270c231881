//! Lists of routes: each with its policy beside it.
//!
//! A family of routes is a file with handlers and one list of them. [`Routes::at`] takes no route without a policy,
//! and the lists are all that the router, the description and everything around a route read.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::AppState;
use super::extract::{AFTER, OFFSET};
use super::policy::Policy;
use super::problem::Problem;

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
            for (method, operation) in operations_of(item) {
                let policy = policy.with(&method);
                let listed = Listed { method, policy, query: query_of(operation, policy), described: true };
                // Of a path with slashes in a parameter the description has another name than the router.
                let described = described_path(path);
                if described != *path {
                    self.policies
                        .add(path, Listed { method: listed.method.clone(), query: listed.query.clone(), described: false, ..listed });
                }
                self.policies.add(&described, listed);
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
        self.policies.add(path, Listed { method: Method::GET, policy: policy.with(&Method::GET), query: Arc::default(), described: false });
        self
    }

    pub fn split(self) -> (Router<AppState>, OpenApi, Policies) {
        let (router, description) = self.router.split_for_parts();
        (router, description, self.policies)
    }
}

/// As a description writes it.
pub fn described_path(path: &str) -> String {
    path.replace("{*", "{")
}

fn operations_of(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    let methods = [
        (&item.get, Method::GET),
        (&item.post, Method::POST),
        (&item.put, Method::PUT),
        (&item.patch, Method::PATCH),
        (&item.delete, Method::DELETE),
    ];
    methods.into_iter().filter_map(|(operation, method)| Some((method, operation.as_ref()?)))
}

/// The names that a query of the route may have, as it is described.
fn query_of(operation: &Operation, policy: Policy) -> Arc<[String]> {
    let name = |one: &RefOr<Parameter>| match one {
        RefOr::T(one) if one.parameter_in == ParameterIn::Query => Some(one.name.clone()),
        RefOr::T(_) | RefOr::Ref(_) => None,
    };
    let mut names: Vec<String> = operation.parameters.iter().flatten().filter_map(name).collect();
    if policy.pages_by_place && names.iter().any(|name| name == OFFSET) {
        names.push(AFTER.to_owned());
    }
    names.into()
}

/// One route.
struct Listed {
    method: Method,
    policy: Policy,
    query: Arc<[String]>,
    /// Pages are not.
    described: bool,
}

/// The policy of every route, by the pattern of its path and its method.
#[derive(Default)]
pub struct Policies(HashMap<String, Vec<Listed>>);

impl Policies {
    fn add(&mut self, path: &str, listed: Listed) {
        self.0.entry(path.to_owned()).or_default().push(listed);
    }

    fn listed(&self, method: &Method, path: &str) -> Option<&Listed> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.0.get(path).and_then(|routes| routes.iter().find(|listed| listed.method == method))
    }

    /// Every route that has a description, in no order.
    pub fn all(&self) -> impl Iterator<Item = (&Method, &str, &Policy)> {
        let described = self.0.iter().flat_map(|(path, routes)| routes.iter().map(move |listed| (path, listed)));
        described.filter(|(_, listed)| listed.described).map(|(path, listed)| (&listed.method, path.as_str(), &listed.policy))
    }

    /// A method that no list names is answered like one that does not exist, and only to callers who are logged in.
    pub fn of(&self, method: &Method, path: &str) -> Policy {
        self.listed(method, path).map_or_else(|| Policy::READ.with(method), |listed| listed.policy)
    }
}

/// Outside of everything else: gives a request the policy of the route that it matches, if it matches one.
pub async fn matched(State(policies): State<Arc<Policies>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    if let Some(path) = path {
        let listed = policies.listed(request.method(), path.as_str());
        let policy = listed.map_or_else(|| Policy::READ.with(request.method()), |listed| listed.policy);
        let exact = listed.filter(|_| policy.exact_query).map(|listed| KnownQuery(listed.query.clone()));
        request.extensions_mut().insert(policy);
        exact.into_iter().for_each(|known| drop(request.extensions_mut().insert(known)));
    }
    next.run(request).await
}

/// The names that a query may have, of a route that takes no other ones.
#[derive(Clone)]
struct KnownQuery(Arc<[String]>);

/// What a query may have several of, because a value may have commas in it.
const SEVERAL: &str = "content";

fn misfit(known: &[String], given: &[(String, String)]) -> Option<Problem> {
    given.iter().enumerate().find_map(|(at, (name, _))| {
        if !known.contains(name) {
            let names = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            return Some(Problem::of_field(name, format_args!("is no parameter of this route; {names}")));
        }
        let repeated = name != SEVERAL && given[..at].iter().any(|(other, _)| other == name);
        repeated.then(|| Problem::of_field(name, "stands twice in the query"))
    })
}

/// Where a route takes the names of its query exactly: a filter that is spelled wrongly does not mean everything.
pub async fn known_query(request: Request, next: Next) -> Response {
    let misfit = request.extensions().get::<KnownQuery>().and_then(|KnownQuery(known)| {
        // What cannot be read is refused by who reads it.
        let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).ok()?;
        misfit(known, &given)
    });
    match misfit {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}
