//! Join tokens as the state holds them: never the secret, only its hash.

use serde::{Deserialize, Serialize};

use super::Role;

/// A join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Six characters, public.
    pub id: String,
    /// Hash of the secret.
    pub secret_hash: Vec<u8>,
    /// What the host becomes.
    pub role: Role,
    /// The only host that may use it.
    pub host_name: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: i64,
    /// How many more hosts it admits.
    pub uses_left: u32,
    /// Revoked tokens stay listed until they expire.
    pub revoked: bool,
    /// The hosts it admitted, with the pin of the key that each used.
    pub used_by: Vec<(String, String)>,
}

/// Why a token does not admit a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// Its time is over.
    Expired,
    /// Somebody revoked it.
    Revoked,
    /// It has admitted all the hosts it may.
    Used,
    /// It is bound to another host name.
    OtherHost,
}

impl Token {
    /// Whether it admits that host at that time.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn check(&self, host_name: &str, now_ms: i64) -> Result<(), TokenFault> {
        if self.revoked {
            Err(TokenFault::Revoked)
        } else if now_ms >= self.expires_at_ms {
            Err(TokenFault::Expired)
        } else if self.host_name.as_deref().is_some_and(|h| h != host_name) {
            Err(TokenFault::OtherHost)
        } else if self.uses_left == 0 {
            Err(TokenFault::Used)
        } else {
            Ok(())
        }
    }
}
