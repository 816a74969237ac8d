//! What somebody wants to know of a host, read from the call.

use khactl_proto::v1::PreflightRequest;
use std::net::IpAddr;

use crate::refused::Refused;

/// More hosts than a cluster has.
const PEERS_MAX: usize = 16;

/// What somebody wants to know of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The spec's text; empty: the checks that need none.
    pub spec_yaml: String,
    /// Its file's name, for messages.
    pub file: String,
    /// Whether this host is to join a cluster: what comes from the members need not be here.
    pub joins: bool,
    /// Hosts that it must reach. A member knows its own.
    pub peers: Vec<IpAddr>,
}

impl TryFrom<PreflightRequest> for Question {
    type Error = Refused;

    fn try_from(request: PreflightRequest) -> Result<Self, Refused> {
        let refused = |wrong: String| {
            let advice = format!("give the IP addresses of {PEERS_MAX} hosts at the most");
            Refused::new("KHA1118", "check this host", wrong, advice)
        };
        if request.peers.len() > PEERS_MAX {
            return Err(refused(format!(
                "{} hosts are to be tried",
                request.peers.len()
            )));
        }
        let peers = request.peers.iter().map(|peer| {
            let address = peer.parse::<IpAddr>();
            address.map_err(|_| refused(format!("{peer:?} is no IP address")))
        });
        Ok(Self {
            peers: peers.collect::<Result<_, _>>()?,
            spec_yaml: request.spec_yaml,
            file: request.file,
            joins: request.joins,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peers: &[&str]) -> Result<Question, Refused> {
        Question::try_from(PreflightRequest {
            joins: true,
            peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
            ..PreflightRequest::default()
        })
    }

    #[test]
    fn peers_are_addresses_and_no_more_than_a_cluster_has() {
        let question = of(&["10.77.0.12", "fd00::12"]).unwrap();
        assert_eq!(question.peers.len(), 2);
        assert!(question.joins);
        let refused = of(&["cp2"]).unwrap_err();
        assert_eq!(refused.code, "KHA1118");
        assert!(refused.wrong.contains("cp2"), "{refused}");
        assert!(of(&["10.77.0.12"; PEERS_MAX]).is_ok());
        let refused = of(&["10.77.0.12"; PEERS_MAX + 1]).unwrap_err();
        assert_eq!(refused.code, "KHA1118");
    }
}
