//! Who made a request, as the services see it.

use std::net::SocketAddr;

use tonic::{Code, Request, Status};

use super::identity::Identity;
use super::refusal::status;
use khactl_proto::v1::Refusal;

/// The other end of the connection that a request came over.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// Its role.
    pub identity: Identity,
    /// It is root on this host, over the Unix socket.
    pub local: bool,
    /// SHA-256 of its certificate's public key, in hexadecimal; none without a certificate.
    pub key_pin: Option<String>,
    /// Where it called from; none over the Unix socket.
    pub address: Option<SocketAddr>,
}

/// The caller of a request; the anonymous one if the transport said nothing.
pub fn caller<T>(request: &Request<T>) -> Caller {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .unwrap_or_default()
}

/// The role of a request's caller.
pub fn identity<T>(request: &Request<T>) -> Identity {
    caller(request).identity
}

/// The calling host's name.
///
/// # Errors
/// `PermissionDenied` (KHA0401) for everyone who is not a host's agent.
pub fn require_host<T>(request: &Request<T>) -> Result<String, Status> {
    match identity(request) {
        Identity::Host { name } => Ok(name),
        other => Err(denied(
            &other,
            "a control-plane host's certificate",
            "Only agents call this; people use khactl",
        )),
    }
}

/// The calling admin's name.
///
/// # Errors
/// `PermissionDenied` (KHA0401) for everyone who is not an admin.
pub fn require_admin<T>(request: &Request<T>) -> Result<String, Status> {
    match identity(request) {
        Identity::Admin { name } => Ok(name),
        other => Err(denied(
            &other,
            "the admin role",
            "Use an admin's identity file, or khactl as root on a control-plane host",
        )),
    }
}

/// Refuses what only root on this very host may do.
///
/// # Errors
/// `PermissionDenied` (KHA0401) for everyone who did not come over the Unix socket.
pub fn require_local<T>(request: &Request<T>) -> Result<(), Status> {
    let caller = caller(request);
    if caller.local {
        return Ok(());
    }
    Err(denied(
        &caller.identity,
        "root on this host, over the Unix socket",
        "Run khactl on the host itself, without --endpoint",
    ))
}

fn denied(who: &Identity, needed: &str, advice: &str) -> Status {
    status(
        Code::PermissionDenied,
        &Refusal {
            code: "KHA0401".into(),
            doing: "check the caller's role".into(),
            wrong: format!("this call needs {needed}; the caller is {who}"),
            advice: advice.into(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_without_a_known_connection_is_anonymous() {
        let request = Request::new(());
        assert_eq!(identity(&request), Identity::None);
        assert_eq!(
            require_admin(&request).unwrap_err().code(),
            Code::PermissionDenied
        );
        assert_eq!(
            require_local(&request).unwrap_err().code(),
            Code::PermissionDenied
        );
    }

    #[test]
    fn admin_over_the_network_is_not_local() {
        let mut request = Request::new(());
        request.extensions_mut().insert(Caller {
            identity: Identity::Admin { name: "ann".into() },
            local: false,
            key_pin: None,
            address: None,
        });
        assert_eq!(require_admin(&request).unwrap(), "ann");
        assert!(require_local(&request).is_err());
        assert!(require_host(&request).is_err());
    }
}
