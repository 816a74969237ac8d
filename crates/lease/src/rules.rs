//! The rules whose absence the simulation must notice. In shipped code every one of them is on, and is no choice.

/// Which rules are kept: all.
#[cfg(not(test))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules;

/// Which rules are kept: a negative control switches one off.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    off: &'static str,
}

#[cfg(not(test))]
impl Rules {
    pub(crate) const fn all() -> Self {
        Self
    }
}

#[cfg(test)]
impl Rules {
    pub(crate) const fn all() -> Self {
        Self { off: "" }
    }

    /// All rules but this one.
    pub(crate) fn without(off: &'static str) -> Self {
        Self { off }
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[cfg(not(test))]
        impl Rules { $($(#[$doc])* pub(crate) const fn $name(self) -> bool { true })* }
        #[cfg(test)]
        impl Rules { $($(#[$doc])* pub(crate) fn $name(self) -> bool { self.off != stringify!($name) })* }
    };
}

rules!(
    /// A3 and the promise of A5.
    lock_check,
    /// A5.
    expiry_never_shrinks,
    /// A6.
    exact_release,
    /// Only an accepted with a propose's own seq counts for it (P5).
    seq_echo,
    /// The deadline counts from before the sending, not from the answer (P5).
    deadline_from_sending,
    /// A8 without a record.
    silence,
    /// A8 with a record that was written during the silence.
    silence_in_record,
);
