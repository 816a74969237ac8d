//! What the resolver says of the hosts' names. khactl itself calls hosts by address; people and their programs do not.

use khactl_model::preflight::{NameAnswer, NameFacts};
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Finding, Level};

const CHECK: &str = "names";
/// The host's own name leads to another one.
const ELSEWHERE: &str = "KHA1127";
/// Names have no address.
const UNKNOWN: &str = "KHA1128";
/// The resolver does not answer.
const LATE: &str = "KHA1129";

/// What follows for a host with those addresses.
pub fn judge(names: &[NameFacts], own_addresses: &BTreeSet<IpAddr>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unknown = Vec::new();
    let mut late = None;
    for facts in names {
        let name = &facts.name;
        match &facts.answer {
            NameAnswer::Addresses(found) if facts.own => {
                let elsewhere: Vec<String> = found
                    .iter()
                    .filter(|address| !address.is_loopback() && !own_addresses.contains(*address))
                    .map(ToString::to_string)
                    .collect();
                if !elsewhere.is_empty() {
                    findings.push(Finding::new(
                        Level::Warning,
                        CHECK,
                        ELSEWHERE,
                        format!(
                            "this host's own name {name} leads to {}, which it does not have: whoever calls it by name reaches another",
                            elsewhere.join(", ")
                        ),
                        "correct /etc/hosts or the name server, or give khad its name with --host-name",
                    ));
                }
            }
            NameAnswer::Addresses(_) => {}
            NameAnswer::Nothing(_) => unknown.push(name.as_str()),
            NameAnswer::Late(ms) => late = late.max(Some((*ms, name.as_str()))),
        }
    }
    if let Some((ms, name)) = late {
        findings.push(Finding::new(
            Level::Warning,
            CHECK,
            LATE,
            format!(
                "the resolver said nothing of {name} within {ms} ms: programs that ask for names wait as long"
            ),
            "mend the name servers in /etc/resolv.conf",
        ));
    }
    if !unknown.is_empty() {
        findings.push(Finding::new(
            Level::Info,
            CHECK,
            UNKNOWN,
            format!(
                "no address is known here for {}; khactl itself needs none",
                unknown.join(", ")
            ),
            "put them into /etc/hosts or the name server, for people and their programs",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::fine(
            CHECK,
            match names.len() {
                1 => "the host's own name has its address".to_owned(),
                _ => "the names of this host and of those in the spec have addresses".to_owned(),
            },
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;

    fn known(name: &str, own: bool, addresses: &[&str]) -> NameFacts {
        let addresses = addresses.iter().map(|a| a.parse::<IpAddr>().unwrap());
        NameFacts {
            name: name.to_owned(),
            own,
            answer: NameAnswer::Addresses(addresses.collect()),
        }
    }

    fn with(name: &str, own: bool, answer: NameAnswer) -> NameFacts {
        NameFacts {
            answer,
            ..known(name, own, &[])
        }
    }

    fn own_addresses() -> BTreeSet<IpAddr> {
        ["10.77.0.11", "fd00::11"]
            .map(|a| a.parse::<IpAddr>().unwrap())
            .into()
    }

    #[test]
    fn an_own_name_may_lead_to_the_host_or_to_loopback() {
        for addresses in [&["10.77.0.11", "fd00::11"][..], &["127.0.1.1"], &["::1"]] {
            let names = [
                known("cp1", true, addresses),
                known("cp2", false, &["10.77.0.12"]),
            ];
            assert_eq!(
                weighed(&judge(&names, &own_addresses())),
                [(Level::Fine, "")]
            );
        }
    }

    #[test]
    fn an_own_name_that_leads_elsewhere_is_warned_of_with_the_address() {
        let names = [known("cp1", true, &["10.77.0.11", "192.0.2.9"])];
        let found = judge(&names, &own_addresses());
        assert!(found[0].finding.contains("to 192.0.2.9,"), "{found:?}");
        assert_eq!(weighed(&found), [(Level::Warning, "KHA1127")]);
    }

    #[test]
    fn names_without_an_address_are_listed_once_for_information() {
        let nothing = || NameAnswer::Nothing("no such name".to_owned());
        let names = [
            with("cp1", true, nothing()),
            with("cp2", false, nothing()),
            known("cp3", false, &["10.77.0.13"]),
        ];
        let found = judge(&names, &own_addresses());
        assert!(found[0].finding.contains("for cp1, cp2;"), "{found:?}");
        assert_eq!(weighed(&found), [(Level::Info, "KHA1128")]);
    }

    #[test]
    fn a_resolver_that_does_not_answer_is_warned_of_once() {
        let names = ["cp1", "cp2"].map(|name| with(name, name == "cp1", NameAnswer::Late(2_000)));
        let found = judge(&names, &own_addresses());
        assert_eq!(weighed(&found), [(Level::Warning, "KHA1129")]);
    }
}
