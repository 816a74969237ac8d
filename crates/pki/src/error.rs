//! Everything that can go wrong with keys and certificates.

use std::error::Error as StdError;

/// A boxed cause from one of the libraries underneath.
pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// A failed action on keys or certificates; the cause is in `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// No key came out of the crypto library.
    #[error(
        "generate a key for {what}: the crypto library refused; check that the kernel's random source works"
    )]
    GenerateKey {
        /// Whose key.
        what: String,
        /// The library's error.
        source: Cause,
    },
    /// A certificate could not be made.
    #[error("make the certificate {what}: check that its names and addresses are valid")]
    MakeCertificate {
        /// The certificate's common name.
        what: String,
        /// The library's error.
        source: Cause,
    },
    /// An authority's certificate and key cannot be read.
    #[error(
        "load the authority {authority}: its certificate or key cannot be read; restore the cluster's state"
    )]
    LoadAuthority {
        /// Its name.
        authority: &'static str,
        /// What is wrong with it.
        source: Cause,
    },
    /// An authority's certificate is for another key.
    #[error(
        "load the authority {authority}: its key is not the one in its certificate; restore the cluster's state"
    )]
    AuthorityKeyMismatch {
        /// Its name.
        authority: &'static str,
    },
    /// There is no authority of this name.
    #[error(
        "find the authority {name:?}: there is none of this name; use an agent of the same version on every host"
    )]
    UnknownAuthority {
        /// The name asked for.
        name: String,
    },
    /// There is no leaf of this name.
    #[error(
        "find the kind of certificate {name:?}: there is none; use an agent of the same version on every host"
    )]
    UnknownLeafKind {
        /// The name asked for.
        name: String,
    },
    /// An authority was asked for another's leaf.
    #[error(
        "sign {what} with the authority {authority}: it belongs to {belongs_to}; this is a defect of khactl"
    )]
    WrongAuthority {
        /// The leaf's common name.
        what: String,
        /// The authority that was asked.
        authority: &'static str,
        /// The authority that issues it.
        belongs_to: &'static str,
    },
    /// A request is no request, or not one that is signed here.
    #[error("check a certificate request: {reason}; make a new key and request with khactl")]
    BadRequest {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A host's key cannot be read.
    #[error(
        "load the key of {what}: it cannot be read; remove it, and a new one is made and signed"
    )]
    LoadKey {
        /// Whose key.
        what: String,
        /// The library's error.
        source: Cause,
    },
    /// A certificate cannot be read.
    #[error("read a certificate: {reason}; remove it, and a new one is signed")]
    ReadCertificate {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The sealing key has the wrong length.
    #[error(
        "read the sealing key: it has {bytes} bytes, and 32 belong there; restore it from another host"
    )]
    SealingKeyLength {
        /// Its length.
        bytes: usize,
    },
    /// A secret could not be encrypted.
    #[error("seal {what}: the crypto library refused")]
    Seal {
        /// The secret's name.
        what: String,
    },
    /// A sealed secret does not open.
    #[error(
        "unseal {what}: the sealing key of this host does not open it, or it was altered; \
         restore the sealing key from another host"
    )]
    Unseal {
        /// The secret's name.
        what: String,
    },
    /// Names for a certificate that cannot stand in one.
    #[error(
        "make the certificate {what}: {name:?} cannot stand in a certificate; check apiServer.extraSans and host names"
    )]
    BadName {
        /// The certificate's common name.
        what: String,
        /// The refused name.
        name: String,
    },
}
