//! What the resolver says of names, all asked at once and none waited for long.

use khactl_model::preflight::{NameAnswer, NameFacts};
use std::net::ToSocketAddrs as _;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A resolver that takes longer is one that nobody wants to wait for.
const PATIENCE_MS: u64 = 2_000;

/// Asks for this host's own name and for others, in that order.
pub async fn names(own: &str, others: &[String]) -> Vec<NameFacts> {
    let mut asked = JoinSet::new();
    let all = std::iter::once(own).chain(others.iter().map(String::as_str));
    for (at, name) in all.enumerate() {
        let name = name.to_owned();
        asked.spawn(async move {
            let facts = NameFacts {
                answer: ask(name.clone()).await,
                own: at == 0,
                name,
            };
            (at, facts)
        });
    }
    let mut facts = asked.join_all().await;
    facts.sort_by_key(|(at, _)| *at);
    facts.into_iter().map(|(_, facts)| facts).collect()
}

async fn ask(name: String) -> NameAnswer {
    let (tell, told) = oneshot::channel();
    // On a thread of its own: the resolver may take a minute, and the runtime would wait for its own threads when khad
    // ends.
    let started = thread::Builder::new()
        .name("resolve a name".to_owned())
        .spawn(move || {
            // Nobody waits for it any more if it was late.
            let _ = tell.send(resolve(&name));
        });
    if let Err(error) = started {
        return NameAnswer::Nothing(error.to_string());
    }
    match tokio::time::timeout(Duration::from_millis(PATIENCE_MS), told).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => NameAnswer::Nothing("the resolver ended".to_owned()),
        Err(_) => NameAnswer::Late(PATIENCE_MS),
    }
}

fn resolve(name: &str) -> NameAnswer {
    match (name, 0_u16).to_socket_addrs() {
        Ok(found) => {
            let addresses = found.map(|at| at.ip().to_canonical()).collect();
            NameAnswer::Addresses(addresses)
        }
        Err(error) => NameAnswer::Nothing(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_told_in_their_order_and_the_first_is_the_hosts_own() {
        // Nobody has names below "invalid" (RFC 6761).
        let facts = names("localhost", &["nobody.invalid".to_owned()]).await;
        assert_eq!(
            facts
                .iter()
                .map(|f| (f.name.as_str(), f.own))
                .collect::<Vec<_>>(),
            [("localhost", true), ("nobody.invalid", false)]
        );
        let NameAnswer::Addresses(found) = &facts[0].answer else {
            panic!("{facts:?}");
        };
        assert!(!found.is_empty() && found.iter().all(std::net::IpAddr::is_loopback));
        assert!(
            !matches!(facts[1].answer, NameAnswer::Addresses(_)),
            "{facts:?}"
        );
    }
}
