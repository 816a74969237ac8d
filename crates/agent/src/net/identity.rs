//! Roles: who a verified certificate says that its owner is.
//!
//! The certificate was judged before (chain, dates, usage); here its subject is read, nothing
//! else. A subject with two organisations or two common names gives no role.

use std::fmt;

use x509_parser::prelude::{FromDer, X509Certificate};

const HOSTS: &str = "khactl:hosts";
const ADMINS: &str = "khactl:admins";
const OPERATORS: &str = "khactl:operators";
const READERS: &str = "khactl:readers";
const HOST_PREFIX: &str = "khactl:host:";

/// The role a caller has on the agents' API. Displays as the audit log's actor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Identity {
    /// A control-plane host's agent.
    Host {
        /// The host's name.
        name: String,
    },
    /// May do everything.
    Admin {
        /// The certificate's common name; "root" over the Unix socket.
        name: String,
    },
    /// May run operations, not change who may do what.
    Operator {
        /// The certificate's common name.
        name: String,
    },
    /// May look.
    Reader {
        /// The certificate's common name.
        name: String,
    },
    /// No certificate, or one that names no role.
    #[default]
    None,
}

impl Identity {
    /// The role in a certificate (DER) that has been verified against the agents' authority.
    pub fn of_certificate(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Self::None;
        };
        let subject = certificate.subject();
        let Some(organisation) = only(subject.iter_organization()) else {
            return Self::None;
        };
        let Some(name) = only(subject.iter_common_name()) else {
            return Self::None;
        };
        let name = name.to_owned();
        match organisation {
            HOSTS => match name.strip_prefix(HOST_PREFIX) {
                Some(host) if !host.is_empty() => Self::Host { name: host.into() },
                _ => Self::None,
            },
            ADMINS => Self::Admin { name },
            OPERATORS => Self::Operator { name },
            READERS => Self::Reader { name },
            _ => Self::None,
        }
    }

    /// The role of a process on the other end of the Unix socket; `None` for everyone but root.
    pub fn of_uid(uid: u32) -> Option<Self> {
        (uid == 0).then(|| Self::Admin {
            name: "root".into(),
        })
    }
}

fn only<'a>(
    mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> Option<&'a str> {
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    first.as_str().ok().filter(|text| !text.is_empty())
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { name } => write!(f, "host:{name}"),
            Self::Admin { name } => write!(f, "admin:{name}"),
            Self::Operator { name } => write!(f, "operator:{name}"),
            Self::Reader { name } => write!(f, "reader:{name}"),
            Self::None => f.write_str("anonymous"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    /// A real one: making it anew for each damage would take its time.
    static ADMIN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        der(&[
            (DnType::OrganizationName, ADMINS),
            (DnType::CommonName, "ann"),
        ])
    });

    fn certificate(entries: &[(DnType, &str)]) -> Identity {
        Identity::of_certificate(&der(entries))
    }

    fn der(entries: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in entries {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn organisation_and_common_name_make_the_role() {
        let organisation = DnType::OrganizationName;
        let name = DnType::CommonName;
        assert_eq!(
            certificate(&[
                (organisation.clone(), "khactl:hosts"),
                (name.clone(), "khactl:host:cp2")
            ]),
            Identity::Host { name: "cp2".into() }
        );
        assert_eq!(
            certificate(&[
                (organisation.clone(), "khactl:admins"),
                (name.clone(), "ann")
            ]),
            Identity::Admin { name: "ann".into() }
        );
        assert_eq!(
            certificate(&[(organisation, "khactl:readers"), (name, "bob")]),
            Identity::Reader { name: "bob".into() }
        );
    }

    #[test]
    fn other_subjects_have_no_role() {
        let organisation = DnType::OrganizationName;
        let name = DnType::CommonName;
        for entries in [
            vec![],
            vec![(name.clone(), "khactl:host:cp2")],
            vec![(organisation.clone(), "khactl:admins")],
            vec![
                (organisation.clone(), "khactl:hosts"),
                (name.clone(), "cp2"),
            ],
            vec![
                (organisation.clone(), "khactl:hosts"),
                (name.clone(), "khactl:host:"),
            ],
            vec![(organisation, "system:masters"), (name, "ann")],
        ] {
            assert_eq!(certificate(&entries), Identity::None, "{entries:?}");
        }
        assert_eq!(Identity::of_certificate(b"no DER"), Identity::None);
    }

    #[test]
    fn of_all_users_only_root_is_admin_on_the_unix_socket() {
        assert!(matches!(Identity::of_uid(0), Some(Identity::Admin { name }) if name == "root"));
        assert_eq!(Identity::of_uid(1000), None);
    }
    proptest! {
        #[test]
        fn arbitrary_bytes_are_nobody(der in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(Identity::of_certificate(&der), Identity::None);
        }

        #[test]
        fn no_damage_to_a_certificate_does_harm(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            left in any::<prop::sample::Index>(),
            cut: bool,
        ) {
            let mut der = ADMIN.clone();
            for (at, byte) in changes {
                let at = at.index(der.len());
                der[at] = byte;
            }
            if cut {
                der.truncate(left.index(der.len()));
            }
            // It is judged before it gets here; whoever it names now, it names somebody.
            prop_assert!(!Identity::of_certificate(&der).to_string().is_empty());
        }
    }
}
