//! How far the log is certified, and how the episode stood there.

use super::evidence::Evidence;
use crate::domain::episode::{Episode, EpisodeEvent, Known, QaStatus};
use crate::domain::{Aggregate as _, EpisodeId, Timestamp};

/// Why there is nothing to certify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStanding {
    #[error("the episode is {}; only one that is approved has a certificate", .0.as_str())]
    NotApproved(QaStatus),
    /// It was committed a moment ago.
    #[error("what happened last to the episode has no place in the log yet")]
    NotPlaced,
    #[error("there is no such episode")]
    NoEpisode,
    #[error("{event} cannot be read: {why}")]
    Unreadable { event: String, why: String },
}

/// An approved episode as it was at the last event that is certified.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub id: EpisodeId,
    /// The place of that event in the log.
    pub position: i64,
    pub at: Timestamp,
    pub episode: Box<Known>,
    /// The event that approved it.
    pub approved_in: Option<String>,
    /// Who did: a run of the checks, or an inspector.
    pub approved_by: Option<String>,
    pub approved_at: Option<Timestamp>,
}

/// Whether an event says something that a certificate says. What is not named here (a note, a look at it, a salvage, a sync) is not part of its birth.
fn certifies(event: &EpisodeEvent) -> bool {
    use EpisodeEvent as E;
    matches!(
        event,
        E::EpisodeCreated(_)
            | E::EpisodeLabelled { .. }
            | E::EpisodeMeasured(_)
            | E::OperatorWordHeard { .. }
            | E::QaRunEnded(_)
            | E::EpisodeApproved { .. }
            | E::EpisodeApprovalLost { .. }
            | E::InspectionDecided(_)
            | E::InspectionReopened { .. }
    )
}

impl Standing {
    /// From all events of the episode's stream, in their order.
    pub fn of(id: EpisodeId, stream: &[Evidence]) -> Result<Self, NoStanding> {
        let read = |event: &Evidence| {
            let unreadable = |error: serde_json::Error| NoStanding::Unreadable { event: event.event_id(), why: error.to_string() };
            serde_json::from_value::<EpisodeEvent>(event.payload.clone()).map_err(unreadable)
        };
        let events: Vec<EpisodeEvent> = stream.iter().map(read).collect::<Result<_, _>>()?;
        let last = events.iter().rposition(certifies).ok_or(NoStanding::NoEpisode)?;
        let mut episode = Episode::default();
        events[..=last].iter().for_each(|event| episode.evolve(event));
        let Episode::Known(episode) = episode else { return Err(NoStanding::NoEpisode) };
        if !episode.qa.settled.is_approved() {
            return Err(NoStanding::NotApproved(episode.qa.status()));
        }
        let position = stream[last].position.ok_or(NoStanding::NotPlaced)?;
        let approved =
            events[..=last].iter().rposition(|event| matches!(event, EpisodeEvent::EpisodeApproved { .. })).map(|at| &stream[at]);
        Ok(Self {
            id,
            position,
            at: stream[last].recorded_at,
            episode,
            approved_in: approved.map(Evidence::event_id),
            approved_by: approved.and_then(Evidence::actor),
            approved_at: approved.map(|event| event.recorded_at),
        })
    }
}
