//! What is wrong with a spec, in words that an operator can act on.

use std::fmt;

use serde::Serialize;

use super::Position;

/// The stable number of a kind of problem; each has a row in `docs/errors.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub enum Code {
    /// KHA1001: the file is not YAML, or uses a part of YAML that a spec has no use for.
    Syntax,
    /// KHA1002: a field that does not exist.
    UnknownField,
    /// KHA1003: a value that cannot be read as what the field holds.
    Malformed,
    /// KHA1004: a field that must be there and is not.
    Missing,
    /// KHA1005: the same thing twice.
    Duplicate,
    /// KHA1006: a document of another kind or version.
    WrongKind,
    /// KHA1007: a number outside its range.
    OutOfRange,
    /// KHA1008: an address that cannot float.
    UnusableVip,
    /// KHA1009: two VIPs of one family.
    TwoVipsPerFamily,
    /// KHA1010: pods' and services' networks that overlap, or that do not go together.
    NetworkConflict,
    /// KHA1011: a port that something else has.
    PortConflict,
    /// KHA1012: fields that exclude each other.
    Exclusive,
    /// KHA1013: times in the wrong order.
    TimingOrder,
    /// KHA1014: a field that the mode has no place for.
    ModeConflict,
    /// KHA1015: the network of a VIP overlaps the pods' or the services' network.
    VipInsideClusterNetwork,
    /// KHA1016: a backend that leads back to the balancer itself.
    BackendIsBalancer,
    /// KHA1020: the VIP is an address that this host has already.
    VipIsHostAddress,
    /// KHA1021: the VIP lies in no network of the interface.
    VipOutsideNetwork,
    /// KHA1022: the interface does not exist on this host.
    InterfaceMissing,
    /// KHA1023: the interface is down.
    InterfaceDown,
    /// KHA1024: the host's own address lies in the pods' or the services' network.
    HostInsideClusterNetwork,
    /// KHA1025: a listener on every address of this host has the port.
    PortTaken,
}

impl Code {
    /// Every code, for the documentation's completeness test.
    pub const ALL: [Self; 22] = [
        Self::Syntax,
        Self::UnknownField,
        Self::Malformed,
        Self::Missing,
        Self::Duplicate,
        Self::WrongKind,
        Self::OutOfRange,
        Self::UnusableVip,
        Self::TwoVipsPerFamily,
        Self::NetworkConflict,
        Self::PortConflict,
        Self::Exclusive,
        Self::TimingOrder,
        Self::ModeConflict,
        Self::VipInsideClusterNetwork,
        Self::BackendIsBalancer,
        Self::VipIsHostAddress,
        Self::VipOutsideNetwork,
        Self::InterfaceMissing,
        Self::InterfaceDown,
        Self::HostInsideClusterNetwork,
        Self::PortTaken,
    ];

    /// The number behind `KHA`.
    pub const fn number(self) -> u16 {
        match self {
            Self::Syntax => 1001,
            Self::UnknownField => 1002,
            Self::Malformed => 1003,
            Self::Missing => 1004,
            Self::Duplicate => 1005,
            Self::WrongKind => 1006,
            Self::OutOfRange => 1007,
            Self::UnusableVip => 1008,
            Self::TwoVipsPerFamily => 1009,
            Self::NetworkConflict => 1010,
            Self::PortConflict => 1011,
            Self::Exclusive => 1012,
            Self::TimingOrder => 1013,
            Self::ModeConflict => 1014,
            Self::VipInsideClusterNetwork => 1015,
            Self::BackendIsBalancer => 1016,
            Self::VipIsHostAddress => 1020,
            Self::VipOutsideNetwork => 1021,
            Self::InterfaceMissing => 1022,
            Self::InterfaceDown => 1023,
            Self::HostInsideClusterNetwork => 1024,
            Self::PortTaken => 1025,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KHA{}", self.number())
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.to_string()
    }
}

/// One thing that is wrong: where, what, and what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where in the file.
    pub position: Position,
    /// Which field, for example `spec.vip.addresses[0]`; empty for the whole document.
    pub path: String,
    /// What is wrong, with the values that are in conflict; no full stop at the end.
    pub message: String,
    /// The kind of problem.
    pub code: Code,
    /// What to try: one or more full sentences.
    pub cure: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{line}:{column}: ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} ({}). {}", self.message, self.code, self.cure)
    }
}

/// Everything that is wrong with a file, in the order of its lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpecProblems {
    /// The file's name, as the operator gave it.
    pub file: String,
    /// The problems.
    pub problems: Vec<Problem>,
}

impl SpecProblems {
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (a.position, &a.path, a.code).cmp(&(b.position, &b.path, b.code)));
        problems.dedup();
        Self {
            file: "cluster.yaml".to_owned(),
            problems,
        }
    }

    /// The same problems under the name that the file really has.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file = file.into();
        self
    }
}

impl fmt::Display for SpecProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{problem}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecProblems {}
