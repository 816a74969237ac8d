//! The configurations of keepalived and haproxy, as text. Pure.
//!
//! They have the shape that the guides for highly available control planes give them: VRRP on one virtual
//! address, a script that asks the local API and gives the address up when it fails twice, and haproxy over all
//! apiservers with their `/healthz`. Where guides differ, the quicker value is taken: kubeadm's own script
//! runs every 3 s, needs ten failures and takes two points of priority, after which the next host waits for three
//! more advertisements.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::contender::Contender;

/// Inside a host: gone with its power.
pub(crate) const RUN_DIR: &str = "/run/khactl/bench";

/// What the watcher writes and keepalived follows.
pub(crate) const HEALTH_FILE: &str = "/run/khactl/bench/health";

/// Where haproxy listens on every host.
const HAPROXY_PORT: u16 = 8443;

/// One for each host.
const PRIORITIES: [u8; 3] = [101, 100, 99];

/// Further apart: whoever has less waits longer, and at 10 ms hosts a point apart come at the same time,
/// so that the client may remember the one that gives up again.
const PRIORITIES_FASTEST: [u8; 3] = [250, 200, 100];

/// One daemon's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// 0 is the host that has the address while all is well.
    pub(crate) number: u8,
    /// The host's own address.
    pub(crate) address: Ipv4Addr,
}

/// keepalived's configuration on a host.
pub(crate) fn keepalived(contender: Contender, place: Place) -> String {
    let word = contender.word();
    let state = if place.number == 0 {
        "MASTER"
    } else {
        "BACKUP"
    };
    let router = match contender {
        Contender::KeepalivedFastest => 52,
        Contender::KeepalivedHaproxy => 53,
        _ => 51,
    };
    let fastest = contender == Contender::KeepalivedFastest;
    let priorities = if fastest {
        PRIORITIES_FASTEST
    } else {
        PRIORITIES
    };
    let priority = priorities[usize::from(place.number)];
    let mut text = format!("global_defs {{\n  router_id {word}_{}\n", place.number);
    text.push_str(if fastest {
        "  vrrp_version 3\n  vrrp_rt_priority 50\n  vrrp_no_swap\n}\n"
    } else {
        "  enable_script_security\n  script_user root\n}\n"
    });
    let (check, tracked, advert_s) = if fastest {
        (
            format!(
                "track_file apiserver {{\n  file {HEALTH_FILE}\n  weight 0\n  init_file 0\n}}\n"
            ),
            "track_file",
            "0.01",
        )
    } else {
        let asked = match contender {
            Contender::KeepalivedHaproxy => format!("127.0.0.1:{HAPROXY_PORT}"),
            _ => format!("{}:6443", place.address),
        };
        (
            format!(
                "vrrp_script apiserver {{\n  script \"/usr/bin/curl --silent --insecure --max-time 2 \
                 --output /dev/null https://{asked}/\"\n  interval 1\n  fall 2\n  rise 2\n}}\n"
            ),
            "track_script",
            "1",
        )
    };
    text.push_str(&check);
    // Writing into a string does not fail.
    let _ = write!(
        text,
        "vrrp_instance {word} {{\n  state {state}\n  interface eth0\n  virtual_router_id {router}\n  \
         priority {priority}\n  advert_int {advert_s}\n  virtual_ipaddress {{\n    {}/24\n  }}\n  \
         {tracked} {{\n    apiserver\n  }}\n}}\n",
        contender.vip()
    );
    text
}

/// haproxy's configuration, the same on every host.
pub(crate) fn haproxy(apiservers: &[Ipv4Addr]) -> String {
    let mut text = format!(
        "global\n  maxconn 4000\ndefaults\n  mode tcp\n  retries 1\n  option redispatch\n  \
         timeout connect 5s\n  timeout client 35s\n  timeout server 35s\n  timeout check 10s\n\
         frontend apiserver\n  bind *:{HAPROXY_PORT}\n  default_backend apiservers\n\
         backend apiservers\n  balance roundrobin\n  option httpchk\n  http-check connect ssl\n  \
         http-check send meth GET uri /healthz\n  http-check expect status 200\n"
    );
    for (number, address) in (1..).zip(apiservers) {
        // Writing into a string does not fail.
        let _ = writeln!(text, "  server cp{number} {address}:6443 check verify none");
    }
    text
}

/// The apiservers listen on their host's own address alone, because khactl's balancer has the port
/// elsewhere: what comes for a virtual address is led to it, while the host has that address.
pub(crate) fn redirection(address: Ipv4Addr) -> String {
    let to = |contender: Contender| {
        format!(
            "  ip daddr {} tcp dport 6443 fib daddr type local dnat to {address}:6443\n",
            contender.vip()
        )
    };
    format!(
        "table ip bench {{\n chain arriving {{\n  type nat hook prerouting priority dstnat; policy accept;\n\
         {}{} }}\n}}\n",
        to(Contender::KeepalivedUsual),
        to(Contender::KeepalivedFastest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Place = Place {
        number: 0,
        address: Ipv4Addr::new(10, 77, 0, 11),
    };

    #[test]
    fn the_first_host_comes_first_and_asks_its_own_apiserver() {
        let usual = keepalived(Contender::KeepalivedUsual, FIRST);
        assert!(usual.contains("  state MASTER\n") && usual.contains("  priority 101\n"));
        assert!(usual.contains("https://10.77.0.11:6443/"));
        let second = keepalived(Contender::KeepalivedUsual, Place { number: 1, ..FIRST });
        assert!(second.contains("  state BACKUP\n") && second.contains("  priority 100\n"));
    }

    #[test]
    fn the_fastest_speaks_vrrp_3_every_10_ms_and_runs_no_script() {
        let fastest = keepalived(Contender::KeepalivedFastest, FIRST);
        for wanted in [
            "  vrrp_version 3\n",
            "  advert_int 0.01\n",
            "  priority 250\n",
            "  track_file {\n    apiserver\n  }\n",
        ] {
            assert!(fastest.contains(wanted), "{fastest}");
        }
        assert!(!fastest.contains("vrrp_script"));
    }

    #[test]
    fn haproxy_is_asked_by_its_own_keepalived_and_knows_every_apiserver() {
        let checked = keepalived(Contender::KeepalivedHaproxy, FIRST);
        assert!(checked.contains("https://127.0.0.1:8443/"));
        let config = haproxy(&[FIRST.address, Ipv4Addr::new(10, 77, 0, 12)]);
        assert!(config.contains("  bind *:8443\n"));
        assert!(config.ends_with("  server cp2 10.77.0.12:6443 check verify none\n"));
    }

    #[test]
    fn both_addresses_without_a_proxy_lead_to_the_hosts_own_apiserver() {
        let rules = redirection(FIRST.address);
        assert!(rules.contains(
            "ip daddr 10.77.0.101 tcp dport 6443 fib daddr type local dnat to 10.77.0.11:6443\n"
        ));
        assert!(rules.contains(
            "ip daddr 10.77.0.102 tcp dport 6443 fib daddr type local dnat to 10.77.0.11:6443\n"
        ));
    }
}
