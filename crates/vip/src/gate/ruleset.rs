//! The rules of the fallback gate, as `nft` reads them. Pure text.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

use crate::gate::set::{SET, TABLE};

/// Before other people's chains at the same place.
const PRIORITY: i32 = -500;

/// Replaces the table by a closed one, in one transaction. What the rules say of a packet is what
/// [`program`](crate::gate::program) says, but for tags that a card has not taken off.
pub(crate) fn ruleset(interfaces: &[(u32, String)], vips: &[IpAddr]) -> String {
    let mut text = format!(
        "table netdev {TABLE}\n\
         delete table netdev {TABLE}\n\
         table netdev {TABLE} {{\n\
         \tset {SET} {{ type iface_type; flags timeout; }}\n"
    );
    for (index, name) in interfaces {
        for (hook, side) in [("ingress", "iiftype"), ("egress", "oiftype")] {
            // Writing to a string cannot fail.
            let _written = writeln!(
                text,
                "\tchain {hook}_{index} {{\n\
                 \t\ttype filter hook {hook} device \"{name}\" priority {PRIORITY}; policy accept;\n\
                 \t\tmeta {side} @{SET} accept"
            );
            for vip in vips {
                for rule in rules(hook == "ingress", *vip) {
                    let _written = writeln!(text, "\t\t{rule} drop");
                }
            }
            text.push_str("\t}\n");
        }
    }
    text.push_str("}\n");
    text
}

fn rules(inwards: bool, vip: IpAddr) -> [String; 2] {
    match (inwards, vip) {
        (true, IpAddr::V4(vip)) => [
            format!("arp daddr ip {vip} arp saddr ip != {vip}"),
            format!("ip daddr {vip}"),
        ],
        (false, IpAddr::V4(vip)) => [format!("arp saddr ip {vip}"), format!("ip saddr {vip}")],
        (true, IpAddr::V6(vip)) => [
            format!("ip6 daddr {vip}"),
            target("nd-neighbor-solicit", vip),
        ],
        (false, IpAddr::V6(vip)) => [
            format!("ip6 saddr {vip}"),
            target("nd-neighbor-advert", vip),
        ],
    }
}

/// The target of a message of NDP stands at bit 64; `nft` before 1.0.9 has no name for it.
fn target(kind: &str, vip: Ipv6Addr) -> String {
    format!("icmpv6 type {kind} @th,64,128 {:#034x}", vip.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced_as_a_whole_and_open_comes_first_in_each_chain() {
        let vips = [
            "10.77.0.100".parse().expect("address"),
            "fd00:77::100".parse().expect("address"),
        ];
        assert_eq!(
            ruleset(&[(3, "eth0".to_owned())], &vips),
            "table netdev khactl_gate\n\
             delete table netdev khactl_gate\n\
             table netdev khactl_gate {\n\
             \tset open { type iface_type; flags timeout; }\n\
             \tchain ingress_3 {\n\
             \t\ttype filter hook ingress device \"eth0\" priority -500; policy accept;\n\
             \t\tmeta iiftype @open accept\n\
             \t\tarp daddr ip 10.77.0.100 arp saddr ip != 10.77.0.100 drop\n\
             \t\tip daddr 10.77.0.100 drop\n\
             \t\tip6 daddr fd00:77::100 drop\n\
             \t\ticmpv6 type nd-neighbor-solicit @th,64,128 0xfd000077000000000000000000000100 drop\n\
             \t}\n\
             \tchain egress_3 {\n\
             \t\ttype filter hook egress device \"eth0\" priority -500; policy accept;\n\
             \t\tmeta oiftype @open accept\n\
             \t\tarp saddr ip 10.77.0.100 drop\n\
             \t\tip saddr 10.77.0.100 drop\n\
             \t\tip6 saddr fd00:77::100 drop\n\
             \t\ticmpv6 type nd-neighbor-advert @th,64,128 0xfd000077000000000000000000000100 drop\n\
             \t}\n\
             }\n"
        );
    }
}
