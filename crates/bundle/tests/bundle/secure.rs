//! Making bundles from sites behind TLS: who is believed, what breaks off there, and the way through a proxy.

use std::path::PathBuf;

use khactl_bundle::{Access, BundleError, Made, Order, Source, create, digest, host_arch};

use crate::front::{Authority, End, before};
use crate::programs::{self, KUBERNETES, SIZE, order, path, program, site};
use crate::proxy::Proxy;
use crate::upstream::{Fault, Upstream};

/// No certificate here ends before.
const LATER: i32 = 4000;
const HERE: &str = "127.0.0.1";

fn made(from: &str, access: Access, out: PathBuf) -> Result<Made, BundleError> {
    let order = Order {
        access,
        ..order(Source::of(Some(from)), out)
    };
    create(&order, &mut |_| {})
}

fn refused(from: &str, access: Access) -> BundleError {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("b.tar.gz");
    let error = made(from, access, out.clone()).unwrap_err();
    assert!(!out.exists(), "nothing has the name of a bundle");
    error
}

fn trusting(authority: &Authority) -> Access {
    Access::trusting([authority.certificate.clone()])
}

/// That site by TLS, at this machine's address.
fn behind(site: &Upstream, authority: &Authority, end: End) -> String {
    let address = before(site.address(), authority.server(HERE, LATER), end);
    format!("https://{address}")
}

/// With which ranges a file was asked for, since the last time.
fn ranges(site: &Upstream, path: &str) -> Vec<Option<String>> {
    let asked = site.take_asked().into_iter();
    let of_path = asked.filter(|asked| asked.path == path);
    of_path.map(|asked| asked.range).collect()
}

#[test]
fn a_mirror_with_an_authority_of_its_own_gives_the_same_bundle_to_who_believes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (site, authority) = (site(host_arch()), Authority::new());
    let url = behind(&site, &authority, End::Said);
    let fetched = made(&url, trusting(&authority), dir.path().join("f.tar.gz")).unwrap();
    assert_eq!(fetched.digest, programs::bundle(dir.path()).digest);
}

#[test]
fn a_site_that_is_not_believed_is_asked_for_nothing_and_not_tried_again() {
    let site = site(host_arch());
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (config, why) in [
        (theirs.server(HERE, LATER), "another authority's"),
        (ours.server("mirror.test", LATER), "another name's"),
        (ours.server(HERE, 2000), "it has ended"),
    ] {
        let address = before(site.address(), config, End::Said);
        let error = refused(&format!("https://{address}"), trusting(&ours));
        assert_eq!(error.code(), "KHA1214", "{why}: {error}");
        assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
        assert!(site.take_asked().is_empty(), "{why}");
    }
}

#[test]
fn a_download_that_breaks_off_behind_tls_goes_on_where_it_was_however_it_ended() {
    let kubectl = path("kubectl", host_arch());
    for end in [End::Said, End::Cut] {
        let dir = tempfile::tempdir().unwrap();
        let (site, authority) = (site(host_arch()), Authority::new());
        let url = behind(&site, &authority, end);
        site.fail(&kubectl, &[Fault::BreakOff(100_000)]);
        // Half a checksum is none.
        site.fail(&format!("{kubectl}.sha256"), &[Fault::BreakOff(32)]);
        made(&url, trusting(&authority), dir.path().join("b.tar.gz")).unwrap();
        assert_eq!(
            ranges(&site, &kubectl),
            [None, Some("bytes=100000-".to_owned())],
            "{end:?}"
        );
    }
}

#[test]
fn tls_makes_wrong_bytes_no_better() {
    let (site, authority) = (site(host_arch()), Authority::new());
    let mut bytes = program(KUBERNETES[0], host_arch());
    bytes[SIZE / 2] ^= 1;
    site.put(&path(KUBERNETES[0], host_arch()), &bytes);
    let url = behind(&site, &authority, End::Said);
    let error = refused(&url, trusting(&authority));
    assert_eq!(error.code(), "KHA1205");
    let found = digest::of_bytes(&bytes);
    assert!(error.to_string().contains(&found), "{error}");
}

#[test]
fn where_a_site_sends_on_a_download_goes_on_too() {
    let dir = tempfile::tempdir().unwrap();
    let (site, store, authority) = (site(host_arch()), Upstream::start(), Authority::new());
    let kubectl = path("kubectl", host_arch());
    store.put("/store", &program("kubectl", host_arch()));
    store.fail("/store", &[Fault::BreakOff(100_000)]);
    let there = behind(&store, &authority, End::Said);
    site.send_on(&kubectl, &format!("{there}/store"));
    let url = behind(&site, &authority, End::Said);
    made(&url, trusting(&authority), dir.path().join("b.tar.gz")).unwrap();
    let both = [None, Some("bytes=100000-".to_owned())];
    assert_eq!(ranges(&site, &kubectl), both);
    assert_eq!(ranges(&store, "/store"), both);
}

#[test]
fn a_proxy_leads_to_a_site_whose_name_this_machine_does_not_know() {
    let dir = tempfile::tempdir().unwrap();
    let (site, authority) = (site(host_arch()), Authority::new());
    let config = authority.server("mirror.test", LATER);
    let front = before(site.address(), config, End::Said);
    let proxy = Proxy::start("mirror.test:443", front);
    let access = trusting(&authority).through(&proxy.url()).unwrap();
    let out = dir.path().join("b.tar.gz");
    made("https://mirror.test", access, out).unwrap();
    // Of Kubernetes each program and its checksum, of etcd the release and its list: each by a connection of its own.
    let connections = KUBERNETES.len() * 2 + 2;
    assert_eq!(
        proxy.asked(),
        vec!["CONNECT mirror.test:443 HTTP/1.1"; connections]
    );
}

#[test]
fn a_proxy_that_does_not_let_through_is_told_by_its_answer() {
    let (site, authority) = (site(host_arch()), Authority::new());
    let proxy = Proxy::start("elsewhere.test:443", site.address());
    let access = trusting(&authority).through(&proxy.url()).unwrap();
    let error = refused("https://mirror.test", access);
    assert_eq!(error.code(), "KHA1202");
    assert!(error.to_string().contains("403"), "{error}");
    assert!(site.take_asked().is_empty());
}
