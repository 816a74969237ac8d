//! The rules whose absence the simulation must notice. In shipped code every one of them is on, and is no choice: there
//! `Rules` is an empty type whose answers are constants. The tests' `Rules` leaves one rule out, for a negative control.

#[cfg(test)]
use crate::timing::MS;
use crate::timing::SILENCE;

/// Which rules are kept: all.
#[cfg(not(test))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules;

/// Which rules are kept: a negative control leaves one out.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    off: Option<Rule>,
    present_lease: u64,
}

#[cfg(not(test))]
impl Rules {
    pub(crate) const fn all() -> Self {
        Self
    }

    /// S, from T_MAX and not from the lease in use (A8).
    #[expect(clippy::unused_self, reason = "the tests' rules have a choice")]
    pub(crate) const fn silence_span(self) -> u64 {
        SILENCE
    }
}

#[cfg(test)]
impl Rules {
    pub(crate) const fn all() -> Self {
        Self {
            off: None,
            present_lease: 0,
        }
    }

    /// All rules but this one. `present_lease` is the lease time in use, for the silence that is too short.
    pub(crate) fn without(off: Rule, present_lease: u64) -> Self {
        Self {
            off: Some(off),
            present_lease,
        }
    }

    pub(crate) fn silence_span(self) -> u64 {
        if self.off == Some(Rule::SilenceFromTheLongest) {
            self.present_lease + self.present_lease / 25 + MS
        } else {
            SILENCE
        }
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident $rule:ident),* $(,)?) => {
        /// A rule to leave out.
        #[cfg(test)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Rule {
            $($(#[$doc])* $rule,)*
            /// The silence follows from T_MAX, not from the T in use (A8).
            SilenceFromTheLongest,
        }
        #[cfg(not(test))]
        impl Rules { $($(#[$doc])* pub(crate) const fn $name(self) -> bool { true })* }
        #[cfg(test)]
        impl Rules { $($(#[$doc])* pub(crate) fn $name(self) -> bool { self.off != Some(Rule::$rule) })* }
    };
}

rules!(
    /// An older epoch than the fence is refused (A2).
    fence Fence,
    /// A3 and the promise of A5.
    lock_check LockCheck,
    /// A5.
    expiry_never_shrinks ExpiryNeverShrinks,
    /// A6.
    exact_release ExactRelease,
    /// A8 without a record.
    silence Silence,
    /// A8 with a record that was written during the silence.
    silence_in_record SilenceInRecord,
    /// Only a confirmed epoch makes an acceptor answer (A8).
    ready Ready,
    /// The epoch that makes an acceptor ready is its fence at once (A8).
    fence_when_ready FenceWhenReady,
    /// An acceptor whose clock jumped is as silent as one that starts (A8).
    silence_after_jump SilenceAfterJump,
    /// Only an accepted with a propose's own seq counts for it (P5).
    seq_echo SeqEcho,
    /// The deadline counts from before the sending, not from the answer (P5).
    deadline_from_sending DeadlineFromSending,
    /// A propose needs the majority of the configuration that it was sent under (P5).
    configuration_at_sending ConfigurationAtSending,
    /// A lease that ran out takes its ballot with it (P7).
    dead_ballot DeadBallot,
    /// A lease that ran out is released (P7).
    release_of_the_lost ReleaseOfTheLost,
    /// A new process takes a new ballot (P10).
    new_ballot NewBallot,
);
