//! The name of a lab: part of namespace, cgroup and folder names, so it is narrow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{LabError, Result};

/// One to twelve of `a-z0-9`, a letter first. Without dashes, so that no lab's namespaces begin
/// with the prefix of another's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// Longest name, in bytes.
    pub const LEN_MAX: usize = 12;

    /// Checks and takes a name.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let narrow = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let starts = name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase());
        if narrow && starts && name.len() <= Self::LEN_MAX {
            Ok(Self(name))
        } else {
            Err(LabError::Name { name })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LabName {
    type Err = LabError;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for LabName {
    type Error = LabError;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_dash_or_a_path_in_it_is_refused() {
        for name in ["lab", "t123456", "a"] {
            assert_eq!(LabName::new(name).unwrap().as_str(), name);
        }
        for name in [
            "",
            "a-b",
            "../x",
            "Lab",
            "9lives",
            "abcdefghijklm",
            "a b",
            "ä",
        ] {
            assert!(LabName::new(name).is_err(), "{name:?} was taken");
        }
    }
}
