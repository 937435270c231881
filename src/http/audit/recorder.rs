//! What is recorded of requests, and what not: not the same again within a minute, and of refusals a few of each caller.

use std::num::NonZeroU32;

use crate::commands::access_records::{AccessRecord, AccessRecords};
use crate::domain::access::AccessKind;
use crate::http::limits::Rate;
use crate::http::policy::{Limit, Policy, Recorded};

/// A viewer reads a recording in hundreds of ranges, and a page reads its list every few seconds: that is one record a minute.
const THE_SAME_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN;

pub struct Recorder {
    records: AccessRecords,
    the_same: Rate<String>,
    refusals: Rate<String>,
}

impl Recorder {
    pub fn new(records: AccessRecords, refusals_per_minute_max: u32) -> Self {
        let most = NonZeroU32::new(refusals_per_minute_max).unwrap_or(NonZeroU32::MIN);
        Self { records, the_same: Rate::per_minute(THE_SAME_PER_MINUTE), refusals: Rate::per_minute(most) }
    }

    /// `policy`: of the route that was asked.
    pub fn record(&self, policy: &Policy, record: AccessRecord) {
        let AccessRecord { login, source_address, action, entity, .. } = &record;
        let from = source_address.as_deref().unwrap_or_default();
        let new = match record.kind {
            AccessKind::Refusal => self.refusals.count(&format!("{login} {from}")).is_ok(),
            AccessKind::Login | AccessKind::SessionEnd | AccessKind::PasswordChange => true,
            // Each of them takes away as much as there is.
            _ if policy.limit == Limit::Exports => true,
            _ => self.the_same.count(&format!("{login} {from} {action} {}", entity.as_deref().unwrap_or_default())).is_ok(),
        };
        if new {
            self.records.keep(record);
        }
    }
}

/// What an answer with this status is, of a route with this policy; none where nothing is recorded of it.
pub fn kind_of(policy: &Policy, status: u16) -> Option<AccessKind> {
    match (status, policy.records) {
        (401 | 403, _) => Some(AccessKind::Refusal),
        (200..=299, Recorded::PersonalData) => Some(AccessKind::Read),
        (200..=299, Recorded::Download) => Some(AccessKind::Download),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::access_records::access_records;

    fn record(kind: AccessKind, login: &str, entity: &str) -> AccessRecord {
        AccessRecord {
            occurred_at: chrono::DateTime::UNIX_EPOCH,
            kind,
            actor: format!("user:{login}"),
            login: login.into(),
            role: "admin",
            action: "GET /api/v1/inspectors/{id}".into(),
            entity: Some(entity.into()),
            status: 200,
            source_address: Some("10.0.0.1".into()),
            request_id: "r".into(),
            login_method: None,
        }
    }

    #[test]
    fn the_same_again_is_one_record_and_exports_and_logins_are_one_each_time() {
        let (records, recording) = access_records();
        let recorder = Recorder::new(records, 3);
        for _ in 0..100 {
            recorder.record(&Policy::READ.of_people(), record(AccessKind::Read, "admin", "inspector/1"));
            recorder.record(&Policy::READ.of_people(), record(AccessKind::Read, "admin", "inspector/2"));
            recorder.record(&Policy::READ.of_people(), record(AccessKind::Read, "inspector:1", "inspector/1"));
            recorder.record(&Policy::READ.export(), record(AccessKind::Download, "admin", ""));
            recorder.record(&Policy::OPEN, record(AccessKind::Login, "admin", "administrator/0"));
        }
        assert_eq!(recording.waiting(), 3 + 100 + 100);
    }

    #[test]
    fn a_caller_that_is_refused_everywhere_is_recorded_a_few_times() {
        let (records, recording) = access_records();
        let recorder = Recorder::new(records, 3);
        for n in 0..100 {
            recorder.record(&Policy::READ, record(AccessKind::Refusal, "collector:1", &format!("episode/{n}")));
            recorder.record(&Policy::READ, record(AccessKind::Refusal, "collector:2", &format!("episode/{n}")));
        }
        assert_eq!(recording.waiting(), 6);
    }

    #[test]
    fn what_a_route_says_is_recorded_where_it_succeeds_and_refusals_everywhere() {
        let (people, files) = (Policy::READ.of_people(), Policy::READ.download());
        assert_eq!((kind_of(&people, 200), kind_of(&files, 206)), (Some(AccessKind::Read), Some(AccessKind::Download)));
        assert_eq!((kind_of(&people, 404), kind_of(&files, 304), kind_of(&Policy::READ, 200)), (None, None, None));
        for policy in [people, files, Policy::READ, Policy::OPEN] {
            assert_eq!((kind_of(&policy, 401), kind_of(&policy, 403)), (Some(AccessKind::Refusal), Some(AccessKind::Refusal)));
        }
    }
}
