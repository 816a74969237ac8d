//! The cluster's keys and certificates: four authorities, the leaves that hosts are entitled to, the pins and
//! tokens by which hosts find each other, and the secrets at rest.
//!
//! ```text
//! host:    LeafKey::generate ──▶ request ──CSR──▶ leader: profile(kind, subject) ──▶ Authority::sign ──▶ PEM
//! leader:  Authority ──key_pem──▶ SealingKey::seal ──▶ replicated state ──▶ unseal ──▶ Authority::load
//! joiner:  JoinToken::parse ──pin──▶ Pin::verify_chain, before it sends anything
//! ```
//!
//! Time, serial numbers, nonces and token secrets are arguments. Key generation and ECDSA signatures take their
//! randomness inside the crypto library, which has no other way. Nothing here touches a file or the network.

mod authority;
mod csr;
mod error;
mod hex;
mod kubeconfig;
mod leaf_facts;
mod leaf_key;
mod leaf_kind;
mod pin;
mod profile;
mod sealing;
mod service_account;
mod token;

pub use authority::{AUTHORITY_LIFE, Authority, AuthorityName, LEAF_LIFE, Serial};
pub use csr::CheckedRequest;
pub use error::PkiError;
pub use kubeconfig::Kubeconfig;
pub use leaf_facts::{LeafFacts, San};
pub use leaf_key::LeafKey;
pub use leaf_kind::LeafKind;
pub use pin::{NotAPin, Pin, PinRefusal};
pub use profile::{LeafProfile, Subject, profile};
pub use sealing::{NONCE_BYTES, SealingKey};
pub use service_account::ServiceAccountKeys;
pub use token::{JoinToken, TokenRefusal};
