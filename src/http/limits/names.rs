//! Every limit that a caller may meet, by its name.

use crate::domain::words::words;
use crate::http::problem::{Code, Problem};

words! {
    /// What is limited.
    LimitName {
        RequestsPerLogin = "requests_per_login",
        RequestsPerAddress = "requests_per_address",
        ExportsPerLogin = "exports_per_login",
        /// Failed attempts, with one account from one address, and from one address in all.
        SignIn = "sign_in",
        Registrations = "registrations",
        IdempotencyKeys = "idempotency_keys",
        StreamsPerUser = "streams_per_user",
    }
}

impl LimitName {
    /// The limit that a refusal comes from: it names it, or its code does.
    pub fn of(problem: &Problem) -> Option<Self> {
        let own = [
            (Code::LoginThrottled, Self::SignIn),
            (Code::RegistrationThrottled, Self::Registrations),
            (Code::IdempotencyThrottled, Self::IdempotencyKeys),
            (Code::TooManyStreams, Self::StreamsPerUser),
        ];
        let said = problem.extra("limit").and_then(|said| Self::ALL.iter().copied().find(|limit| said == limit.as_str()));
        said.or_else(|| own.into_iter().find(|(code, _)| code.as_str() == problem.code()).map(|(_, name)| name))
    }
}
