//! What an operator carries from a member to a host that shall join.
//!
//! `ID.SECRET.PIN`: six letters and digits by which the cluster finds the token (public), 32 hexadecimal digits
//! that prove it (16 random bytes, secret), and 64 hexadecimal digits that are the pin of the agents' authority,
//! by which the joiner knows the cluster before it says anything. The cluster keeps a hash of the secret only.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{Pin, hex};

const ID_CHARS: usize = 6;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// The hash of a secret must fit nothing else that is hashed here.
const HASH_DOMAIN: &[u8] = b"khactl join token secret v1\0";

/// A token whole, as the joiner has it.
#[derive(Clone)]
pub struct JoinToken {
    id: String,
    secret: Zeroizing<[u8; 16]>,
    pin: Pin,
}

/// Why a text is no token; never repeats the text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not three parts.
    #[error(
        "read the token: it has {parts} parts between dots, and ID.SECRET.PIN are three; copy it whole"
    )]
    Parts {
        /// How many there are.
        parts: usize,
    },
    /// The first part.
    #[error(
        "read the token: its first part is not six lower-case letters and digits; copy it whole"
    )]
    Id,
    /// The second part.
    #[error(
        "read the token: its second part has {chars} characters, and 32 hexadecimal digits belong there; copy it whole"
    )]
    Secret {
        /// Its length.
        chars: usize,
    },
    /// The third part.
    #[error(
        "read the token: its third part has {chars} characters, and 64 hexadecimal digits belong there; copy it whole"
    )]
    Pin {
        /// Its length.
        chars: usize,
    },
}

impl JoinToken {
    /// A new token from 24 fresh random bytes.
    pub fn new(random: &[u8; 24], pin: Pin) -> Self {
        let (for_id, for_secret) = random.split_at(8);
        let mut number = for_id
            .iter()
            .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let mut id = String::with_capacity(ID_CHARS);
        for _ in 0..ID_CHARS {
            let index = usize::try_from(number % 36).expect("below 36");
            id.push(char::from(ALPHABET[index]));
            number /= 36;
        }
        let mut secret = Zeroizing::new([0; 16]);
        secret.copy_from_slice(for_secret);
        Self { id, secret, pin }
    }

    /// Reads a token; space around it is ignored, for it was copied from a terminal.
    pub fn parse(text: &str) -> Result<Self, TokenRefusal> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [id, secret, pin] = parts.as_slice() else {
            return Err(TokenRefusal::Parts { parts: parts.len() });
        };
        if id.len() != ID_CHARS || !id.bytes().all(|byte| ALPHABET.contains(&byte)) {
            return Err(TokenRefusal::Id);
        }
        let chars = secret.chars().count();
        let secret = hex::decode(secret).ok_or(TokenRefusal::Secret { chars })?;
        let chars = pin.chars().count();
        let pin = hex::decode(pin)
            .map(Pin::new)
            .ok_or(TokenRefusal::Pin { chars })?;
        Ok(Self {
            id: (*id).to_owned(),
            secret: Zeroizing::new(secret),
            pin,
        })
    }

    /// The token as the operator copies it.
    pub fn text(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(hex::encode(self.secret.as_slice()));
        Zeroizing::new(format!("{}.{}.{}", self.id, *secret, self.pin.to_hex()))
    }

    /// The public part, by which it is listed and revoked.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret part, for the request of the joiner.
    pub fn secret(&self) -> &[u8; 16] {
        &self.secret
    }

    /// The pin of the agents' authority.
    pub const fn pin(&self) -> Pin {
        self.pin
    }

    /// What the cluster keeps of the secret: 32 bytes. The secret has 128 random bits, so a plain hash is not
    /// to be guessed and needs no salt.
    pub fn secret_hash(&self) -> [u8; 32] {
        hash(self.secret.as_slice())
    }

    /// Is this the secret of that hash? In constant time; false for a secret or a hash of another length.
    pub fn verify_secret(secret: &[u8], secret_hash: &[u8]) -> bool {
        hash(secret).as_slice().ct_eq(secret_hash).into()
    }
}

fn hash(secret: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(HASH_DOMAIN);
    context.update(secret);
    context
        .finish()
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, secret)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        JoinToken::new(&[9; 24], Pin::new([0xab; 32]))
    }

    #[test]
    fn a_token_survives_being_copied() {
        let text = token().text();
        let read = JoinToken::parse(&format!(" {}\n", *text)).unwrap();
        assert_eq!(*read.text(), *text);
        assert_eq!(read.pin(), Pin::new([0xab; 32]));
        assert_eq!(text.len(), 6 + 1 + 32 + 1 + 64);
    }

    #[test]
    fn only_the_secret_fits_its_hash() {
        let hash = token().secret_hash();
        assert!(JoinToken::verify_secret(&[9; 16], &hash));
        assert!(!JoinToken::verify_secret(&[8; 16], &hash));
        assert!(!JoinToken::verify_secret(&[], &hash));
        assert!(!JoinToken::verify_secret(&[9; 16], &[]));
        assert!(!JoinToken::verify_secret(&[9; 16], &hash[..31]));
    }

    #[test]
    fn a_broken_token_is_told_which_part_is_broken() {
        let whole = token().text();
        let (id, rest) = whole.split_once('.').unwrap();
        let (secret, pin) = rest.split_once('.').unwrap();
        let refusal = |text: &str| JoinToken::parse(text).unwrap_err();
        assert_eq!(refusal(""), TokenRefusal::Parts { parts: 1 });
        assert_eq!(
            refusal(&format!("{id}.{secret}")),
            TokenRefusal::Parts { parts: 2 }
        );
        assert_eq!(refusal(&format!("ABCDEF.{secret}.{pin}")), TokenRefusal::Id);
        assert_eq!(
            refusal(&format!("{id}.{}.{pin}", &secret[1..])),
            TokenRefusal::Secret { chars: 31 }
        );
        assert_eq!(
            refusal(&format!("{id}.{secret}.{}", &pin[..60])),
            TokenRefusal::Pin { chars: 60 }
        );
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert!(!format!("{:?}", token()).contains("0909"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_token_parser_panic(text in "\\PC{0,120}") {
            let _ = JoinToken::parse(&text);
        }

        #[test]
        fn every_random_token_can_be_read_again(random: [u8; 24]) {
            let token = JoinToken::new(&random, Pin::new([1; 32]));
            let read = JoinToken::parse(&token.text()).unwrap();
            prop_assert_eq!(read.id(), token.id());
            prop_assert_eq!(read.secret(), token.secret());
        }
    }
}
