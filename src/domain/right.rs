//! Whether a person may still do what they asked for a while ago: looked at again in the moment in which it is done.

use super::{AccountRole, Actor};

/// How a person or a program and a robot stand to each other at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the account or the key is there, and opens something.
    pub active: bool,
    /// Whether the robot is that of the person's own station.
    pub own_robot: bool,
    /// Whether the robot is in their scope.
    pub in_scope: bool,
    /// Whether the site lets people in without a login.
    pub without_login: bool,
}

/// Why a person may not do it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RightLost {
    #[error("the account of the caller is gone, or not active any more")]
    Account,
    #[error("the robot does not belong to the station of the caller any more")]
    OwnRobot,
    #[error("the robot is not in the scope of the caller any more")]
    Scope,
    #[error("this needs a login now, and the caller had none")]
    Login,
    #[error("the role of the caller tells robots nothing")]
    Role,
}

/// Whether they may tell a robot something: what `Policy::OPERATE` asks of a request, asked later.
pub fn may_operate(who: &Actor, now: &Standing) -> Result<(), RightLost> {
    match who {
        // No people: theirs is what they are told.
        Actor::Device(_) | Actor::Subscriber(_) | Actor::CommandLine | Actor::System => return Ok(()),
        Actor::Inspector(_) => return Err(RightLost::Role),
        Actor::Account(role, _) | Actor::Key(role, _) => match role {
            AccountRole::Admin | AccountRole::ProductionManager => {}
            AccountRole::Auditor | AccountRole::Display => return Err(RightLost::Role),
        },
        Actor::Anonymous if !now.without_login => return Err(RightLost::Login),
        Actor::Admin | Actor::Collector(_) | Actor::Anonymous => {}
    }
    let has_account = matches!(who, Actor::Collector(_) | Actor::Account(..) | Actor::Key(..));
    if has_account && !now.active {
        return Err(RightLost::Account);
    }
    if !now.in_scope {
        return Err(RightLost::Scope);
    }
    match who {
        Actor::Collector(_) if !now.own_robot => Err(RightLost::OwnRobot),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AccountId, ApiKeyId, CollectorId};

    const ALL: Standing = Standing { active: true, own_robot: true, in_scope: true, without_login: true };

    #[test]
    fn a_right_that_holds_holds_for_everybody() {
        let manager = Actor::Account(AccountRole::ProductionManager, AccountId(1));
        for who in [Actor::Admin, manager, Actor::Collector(CollectorId(1)), Actor::Anonymous, Actor::System] {
            assert_eq!(may_operate(&who, &ALL), Ok(()), "{who}");
        }
    }

    #[test]
    fn each_kind_of_caller_loses_it_in_its_own_ways() {
        let (inactive, elsewhere) = (Standing { active: false, ..ALL }, Standing { own_robot: false, ..ALL });
        let (outside, strict) = (Standing { in_scope: false, ..ALL }, Standing { without_login: false, ..ALL });
        let collector = Actor::Collector(CollectorId(1));
        let (key, auditor) = (Actor::Key(AccountRole::Admin, ApiKeyId(1)), Actor::Account(AccountRole::Auditor, AccountId(1)));
        for (who, now, expected) in [
            (&collector, inactive, Err(RightLost::Account)),
            (&collector, elsewhere, Err(RightLost::OwnRobot)),
            (&collector, outside, Err(RightLost::Scope)),
            (&collector, strict, Ok(())),
            (&Actor::Admin, inactive, Ok(())),
            (&Actor::Admin, elsewhere, Ok(())),
            (&Actor::Admin, outside, Err(RightLost::Scope)),
            (&Actor::Anonymous, elsewhere, Ok(())),
            (&Actor::Anonymous, outside, Err(RightLost::Scope)),
            (&Actor::Anonymous, strict, Err(RightLost::Login)),
            (&key, inactive, Err(RightLost::Account)),
            (&key, elsewhere, Ok(())),
            (&key, outside, Err(RightLost::Scope)),
            (&auditor, ALL, Err(RightLost::Role)),
            (&Actor::System, outside, Ok(())),
        ] {
            assert_eq!(may_operate(who, &now), expected, "{who} {now:?}");
        }
    }
}
