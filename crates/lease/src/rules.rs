//! The rules whose absence the simulation must notice. In shipped code every one of them is on, and is no choice.

/// Which rules are kept.
#[cfg(not(test))]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules;

#[cfg(not(test))]
macro_rules! rule {
    ($($name:ident),*) => { impl Rules { $(pub(crate) const fn $name(self) -> bool { true })* } };
}

/// Which rules are kept: the negative controls switch one off.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    off: &'static str,
}

#[cfg(test)]
impl Default for Rules {
    fn default() -> Self {
        Self { off: "" }
    }
}

#[cfg(test)]
impl Rules {
    /// All rules but this one.
    pub(crate) fn without(off: &'static str) -> Self {
        Self { off }
    }
}

#[cfg(test)]
macro_rules! rule {
    ($($name:ident),*) => {
        impl Rules { $(pub(crate) fn $name(self) -> bool { self.off != stringify!($name) })* }
        /// Every rule that can be switched off.
        pub(crate) const ALL: &[&str] = &[$(stringify!($name)),*];
    };
}

rule!(
    lock_check,
    expiry_never_shrinks,
    exact_release,
    seq_echo,
    deadline_from_sending,
    dead_ballot,
    close_before_release,
    silence,
    silence_in_record
);
