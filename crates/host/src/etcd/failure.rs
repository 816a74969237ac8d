//! What etcd's refusals mean: whether to wait, or that the request is wrong.

use std::fmt;

use tonic::{Code, Status};

/// Kinds of failure that callers treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EtcdFailure {
    /// No endpoint answered.
    Unreachable,
    /// No answer within the deadline, or etcd's own deadline passed.
    TimedOut,
    /// There is no leader, or it is just changing.
    NoLeader,
    /// Not every voter has been connected for long enough (5 s) for a change of members.
    Unhealthy,
    /// A change of members would endanger the quorum that there is.
    NotEnoughStarted,
    /// The learner has not caught up yet.
    LearnerBehind,
    /// Another learner has to be promoted first.
    TooManyLearners,
    /// A member with these peer URLs exists: an earlier call may have got through.
    PeerUrlExists,
    /// There is no such member.
    MemberNotFound,
    /// The member to promote has its vote already.
    NotALearner,
    /// The member that was asked is a learner, which does not answer this.
    AskedALearner,
    /// Anything else.
    Refused,
}

impl EtcdFailure {
    /// Whether the same call may succeed later with nobody's help.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Unreachable
            | Self::TimedOut
            | Self::NoLeader
            | Self::Unhealthy
            | Self::NotEnoughStarted
            | Self::LearnerBehind
            | Self::TooManyLearners
            | Self::AskedALearner => true,
            Self::PeerUrlExists | Self::MemberNotFound | Self::NotALearner | Self::Refused => false,
        }
    }

    /// Reads etcd's answer. Its texts are those of `api/v3rpc/rpctypes/error.go`, the same in 3.4
    /// and 3.5; codes alone do not tell these cases apart.
    pub(super) fn of(status: &Status) -> Self {
        let text = status.message();
        let has = |part: &str| text.contains(part);
        if has("learner member which is in sync with leader") {
            Self::LearnerBehind
        } else if has("can only promote a learner member") {
            Self::NotALearner
        } else if has("too many learner members") {
            Self::TooManyLearners
        } else if has("not supported for learner") {
            Self::AskedALearner
        } else if has("unhealthy cluster") {
            Self::Unhealthy
        } else if has("not enough started members") {
            Self::NotEnoughStarted
        } else if has("Peer URLs already exists") || has("member ID already exist") {
            Self::PeerUrlExists
        } else if has("member not found") {
            Self::MemberNotFound
        } else if has("no leader") || has("not leader") || has("leader changed") {
            Self::NoLeader
        } else if has("request timed out") || status.code() == Code::DeadlineExceeded {
            Self::TimedOut
        } else if matches!(status.code(), Code::Unavailable | Code::Cancelled)
            || is_transport(status)
        {
            // Cancelled is what is left of a call whose connection went away under it: with TLS 1.3 a
            // client learns only then that its certificate was refused.
            Self::Unreachable
        } else {
            Self::Refused
        }
    }

    /// Another endpoint may do better. Asking it again is harmless even if the first one got the
    /// request: etcd refuses a second addition, removal or promotion of the same member.
    pub(super) fn try_next_endpoint(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::AskedALearner | Self::NoLeader
        )
    }
}

/// A connection that broke is reported by the transport, with any code.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status)
        .is_some_and(|source| source.downcast_ref::<tonic::transport::Error>().is_some())
}

impl fmt::Display for EtcdFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "it does not answer; see whether etcd runs and its certificate is valid",
            Self::TimedOut => "no answer in time; try again",
            Self::NoLeader => "the members have no leader now; try again",
            Self::Unhealthy => "not all voters have been connected for 5 s; try again, and remove a member that is dead",
            Self::NotEnoughStarted => "too few members run for this change; start them or remove the dead one",
            Self::LearnerBehind => "the learner has not caught up yet; try again",
            Self::TooManyLearners => "another learner comes first; try again after its promotion",
            Self::PeerUrlExists => "a member with these peer URLs exists; list the members",
            Self::MemberNotFound => "there is no such member; list the members",
            Self::NotALearner => "the member has its vote already",
            Self::AskedALearner => "a learner does not answer this; ask a voter",
            Self::Refused => "etcd refused it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, text: &str) -> EtcdFailure {
        EtcdFailure::of(&Status::new(code, text))
    }

    #[test]
    fn waiting_for_a_learner_is_told_from_promoting_a_voter() {
        let behind = failure(
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        );
        assert_eq!(behind, EtcdFailure::LearnerBehind);
        assert!(behind.is_retryable());
        let voter = failure(
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member",
        );
        assert_eq!(voter, EtcdFailure::NotALearner);
        assert!(!voter.is_retryable());
    }

    #[test]
    fn an_unhealthy_cluster_is_a_status_and_an_unknown_member_an_error() {
        for (code, text) in [
            (Code::Unavailable, "etcdserver: unhealthy cluster"),
            (
                Code::FailedPrecondition,
                "etcdserver: re-configuration failed due to not enough started members",
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: too many learner members in cluster",
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "tcp connect error"),
        ] {
            assert!(failure(code, text).is_retryable(), "{text}");
        }
        for (code, text) in [
            (Code::NotFound, "etcdserver: member not found"),
            (
                Code::FailedPrecondition,
                "etcdserver: Peer URLs already exists",
            ),
            (Code::PermissionDenied, "etcdserver: permission denied"),
        ] {
            assert!(!failure(code, text).is_retryable(), "{text}");
        }
    }
}
