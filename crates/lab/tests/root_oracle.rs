//! The oracle on bare hosts with addresses set by hand: it must see what is there, and nothing else.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use khactl_lab::oracle::{ASK_EVERY, Answers, Oracle};
use khactl_lab::{Lab, LabOptions};
use khactl_sys::clock;
use rustix::net::SendFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const VIP: &str = "10.77.0.100";
const VIP6: &str = "fd77::100";

/// Long against anything here; only a broken oracle reaches it.
const SOON: Duration = Duration::from_secs(10);

struct Watched {
    lab: Lab,
    oracle: Oracle,
}

impl Watched {
    fn new(name: &str, hosts: usize) -> Self {
        let options = LabOptions {
            hosts,
            ..LabOptions::default()
        };
        let lab = Lab::up(name, options).unwrap();
        let vips: [IpAddr; 2] = [VIP.parse().unwrap(), VIP6.parse().unwrap()];
        let oracle = Oracle::start(&lab, &vips).unwrap();
        Self { lab, oracle }
    }

    fn ip(&self, host: &str, arguments: &str) {
        let mut command = self.lab.exec(host, "ip").unwrap();
        command.args(arguments.split_whitespace());
        assert!(
            command.status().unwrap().success(),
            "{host}: ip {arguments}"
        );
    }

    fn hold(&self, host: &str) {
        self.ip(host, &format!("addr add {VIP}/32 dev eth0"));
        self.ip(host, &format!("addr add {VIP6}/128 dev eth0 nodad"));
    }

    fn let_go(&self, host: &str) {
        self.ip(host, &format!("addr del {VIP}/32 dev eth0"));
        self.ip(host, &format!("addr del {VIP6}/128 dev eth0"));
    }

    fn answers(&self) -> Answers {
        self.oracle.answers().unwrap()
    }

    /// Waits until a host has answered, in every way, after this call.
    fn await_answers_of(&self, host: &str) {
        let mac = &self.lab.host(host).unwrap().layout().mac;
        let from = clock::boottime();
        let end = from + SOON;
        loop {
            let answers = self.answers();
            let (mut arp, mut ndp, mut ip) = (0, 0, [0, 0]);
            for span in answers.between(from, end) {
                if span.mac.to_string() == *mac && span.to > from + ASK_EVERY * 3 {
                    (arp, ndp) = (arp + span.arp, ndp + span.ndp);
                    ip[usize::from(span.vip.is_ipv6())] += span.ip;
                }
            }
            if arp > 0 && ndp > 0 && ip[0] > 0 && ip[1] > 0 {
                return;
            }
            assert!(
                clock::boottime() < end,
                "{host} answered {arp} times by ARP, {ndp} by NDP, {ip:?} by IP: {answers:?}"
            );
            thread::sleep(ASK_EVERY);
        }
    }

    /// The hosts between which there were overlaps, as they are numbered.
    fn overlapping(&self) -> Vec<[u8; 2]> {
        let mut pairs: Vec<[u8; 2]> = self
            .answers()
            .overlaps(Duration::ZERO, Duration::MAX)
            .iter()
            .map(|overlap| overlap.macs.map(|mac| mac.0[5] - 10))
            .map(|[one, other]| [one.min(other), one.max(other)])
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }
}

#[test]
fn an_address_that_moves_from_host_to_host_is_never_on_two() {
    let watched = Watched::new("ormove", 2);
    watched.hold("cp1");
    watched.await_answers_of("cp1");
    watched.let_go("cp1");
    watched.hold("cp2");
    watched.await_answers_of("cp2");
    // What everybody hears of its holder is nobody else's answer.
    let mut announce = watched.lab.exec("cp2", "arping").unwrap();
    announce.args(["-q", "-c", "1", "-A", "-I", "eth0", VIP]);
    announce.status().unwrap();
    watched.await_answers_of("cp2");
    assert_eq!(watched.overlapping(), [[0; 2]; 0]);
}

#[test]
fn an_address_on_two_hosts_is_seen_and_so_is_a_frozen_host_that_still_answers() {
    let watched = Watched::new("ortwo", 3);
    watched.hold("cp1");
    watched.await_answers_of("cp1");
    watched.lab.pause("cp1").unwrap();
    watched.hold("cp2");
    watched.await_answers_of("cp2");
    assert_eq!(watched.overlapping(), [[1, 2]]);
    // Cut off from everybody it still answers, which the observer sees at its port.
    watched.let_go("cp2");
    watched.lab.cut("cp1").unwrap();
    watched.hold("cp3");
    watched.await_answers_of("cp3");
    assert_eq!(watched.overlapping(), [[1, 2], [1, 3]]);
    // A power cut ends it.
    watched.lab.kill("cp1").unwrap();
    watched.let_go("cp3");
    watched.hold("cp2");
    watched.await_answers_of("cp2");
    assert_eq!(watched.overlapping(), [[1, 2], [1, 3]]);
}

#[test]
fn one_stray_frame_of_another_host_is_seen() {
    let watched = Watched::new("orstray", 2);
    watched.hold("cp1");
    watched.await_answers_of("cp1");
    send_from(
        &watched.lab,
        "cp2",
        &gratuitous_arp([2, 0x6b, 0x68, 0, 0, 12]),
    );
    watched.await_answers_of("cp1");
    assert_eq!(watched.overlapping(), [[1, 2]]);
}

/// Everybody is told that the VIP is at this MAC.
fn gratuitous_arp(mac: [u8; 6]) -> Vec<u8> {
    let vip = [10, 77, 0, 100];
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(vip);
    frame.extend([0; 6]);
    frame.extend(vip);
    frame
}

/// Sends a frame out of a host's `eth0`.
fn send_from(lab: &Lab, host: &str, frame: &[u8]) {
    let netns = format!("/run/netns/{}", lab.host(host).unwrap().layout().netns);
    let netns = File::open(netns).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let interfaces = khactl_sys::interfaces::list().unwrap();
            let eth0 = interfaces.iter().find(|one| one.name == "eth0").unwrap();
            let socket = khactl_sys::packet::frame_socket(eth0.index).unwrap();
            rustix::net::send(&socket, frame, SendFlags::empty()).unwrap();
        });
    });
}
