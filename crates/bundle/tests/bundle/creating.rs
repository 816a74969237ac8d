//! Making bundles, from a site that behaves and from one that does not.

use std::fs;

use khactl_bundle::{BundleError, Progress, Source, create, digest, host_arch};

use crate::programs::{self, ETCD_RELEASE, KUBERNETES, SIZE, order, path, program, site};
use crate::upstream::{Fault, Upstream};

fn mirror(site: &Upstream) -> Source {
    Source::of(Some(&site.url()))
}

fn refused(site: &Upstream) -> BundleError {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("b.tar.gz");
    let error = create(&order(mirror(site), out.clone()), &mut |_| {}).unwrap_err();
    assert!(!out.exists(), "nothing has the name of a bundle");
    error
}

#[test]
fn a_mirror_and_a_folder_give_the_same_bytes_and_every_program_is_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(host_arch());
    let fetched = create(
        &order(mirror(&site), dir.path().join("f.tar.gz")),
        &mut |_| {},
    )
    .unwrap();
    let folder = programs::bundle(dir.path());
    assert_eq!(fetched.digest, folder.digest);
    assert_eq!(
        fs::read(&fetched.path).unwrap(),
        fs::read(&folder.path).unwrap()
    );
    assert_eq!(
        fetched.sha256,
        digest::of_bytes(&fs::read(&fetched.path).unwrap())
    );
    assert!(!dir.path().join("f.tar.gz.parts").exists());

    let into = create(&order(mirror(&site), dir.path().to_owned()), &mut |_| {}).unwrap();
    let name = into
        .path
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    assert!(
        name.contains(&into.digest[..12]) && name.contains("v1.30.1"),
        "{name}"
    );
    assert_eq!(into.sha256, fetched.sha256);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(host_arch());
    let kubectl = path("kubectl", host_arch());
    site.fail(
        &kubectl,
        &[
            Fault::BreakOff(100_000),
            Fault::Unavailable,
            Fault::BreakOff(50_000),
        ],
    );
    let mut broken = 0;
    let order = order(mirror(&site), dir.path().join("b.tar.gz"));
    create(&order, &mut |progress| {
        broken += u32::from(matches!(progress, Progress::BrokenOff { .. }));
    })
    .unwrap();
    let ranges: Vec<_> = site
        .take_asked()
        .into_iter()
        .filter(|asked| asked.path == kubectl)
        .map(|asked| (asked.range, asked.if_range.is_some()))
        .collect();
    let after = |bytes: u32| (Some(format!("bytes={bytes}-")), true);
    assert_eq!(
        ranges,
        [
            (None, false),
            after(100_000),
            after(100_000),
            after(150_000)
        ]
    );
    assert_eq!(broken, 3);
}

#[test]
fn what_came_before_a_run_gave_up_is_not_fetched_again_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(host_arch());
    let order = order(mirror(&site), dir.path().join("b.tar.gz"));
    let scheduler = path("kube-scheduler", host_arch());
    site.fail(
        &scheduler,
        &[Fault::BreakOff(300_000), Fault::AlwaysBreakOff(0)],
    );
    let error = create(&order, &mut |_| {}).unwrap_err();
    assert_eq!(error.code(), "KHA1202", "{error}");
    site.take_asked();

    site.fail(&scheduler, &[]);
    create(&order, &mut |_| {}).unwrap();
    let asked = site.take_asked();
    let of = |path: &str| {
        asked
            .iter()
            .filter(|asked| asked.path == path)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(&path("kube-apiserver", host_arch())).len(),
        0,
        "it was whole"
    );
    let scheduler = of(&scheduler);
    assert_eq!(scheduler.len(), 1);
    assert_eq!(scheduler[0].range.as_deref(), Some("bytes=300000-"));
}

#[test]
fn a_site_without_ranges_and_a_file_that_changed_meanwhile_are_fetched_from_the_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(host_arch());
    let (kubectl, scheduler) = (
        path("kubectl", host_arch()),
        path("kube-scheduler", host_arch()),
    );
    site.fail(&kubectl, &[Fault::BreakOff(100_000), Fault::NoRanges]);
    // Half of another file, with that file's tag, as an earlier run may have left them.
    let order = order(mirror(&site), dir.path().join("b.tar.gz"));
    let parts = dir.path().join("b.tar.gz.parts");
    fs::create_dir(&parts).unwrap();
    fs::write(parts.join("kube-scheduler.partial"), vec![7; 1000]).unwrap();
    fs::write(parts.join("kube-scheduler.etag"), "\"another\"").unwrap();
    // And half of another file without a tag: only the checksum tells.
    fs::write(parts.join("kube-apiserver.partial"), vec![7; 1000]).unwrap();
    create(&order, &mut |_| {}).unwrap();
    let asked = site.take_asked();
    let count = |path: &str| asked.iter().filter(|asked| asked.path == path).count();
    assert_eq!(count(&kubectl), 2);
    assert_eq!(count(&scheduler), 1);
    assert_eq!(count(&path("kube-apiserver", host_arch())), 2);
}

#[test]
fn wrong_bytes_are_refused_with_both_digests() {
    let site = site(host_arch());
    let mut bytes = program("kube-controller-manager", host_arch());
    let right = digest::of_bytes(&bytes);
    bytes[SIZE / 2] ^= 1;
    site.put(&path("kube-controller-manager", host_arch()), &bytes);
    let error = refused(&site);
    assert_eq!(error.code(), "KHA1205");
    let text = error.to_string();
    assert!(
        text.contains(&right) && text.contains(&digest::of_bytes(&bytes)),
        "{text}"
    );
}

#[test]
fn wrong_and_useless_checksums_are_refused() {
    let site = site(host_arch());
    let sum = format!("{}.sha256", path("kubectl", host_arch()));
    site.put(&sum, "0".repeat(64).as_bytes());
    assert_eq!(refused(&site).code(), "KHA1205");
    site.put(&sum, b"<html>log in</html>");
    assert_eq!(refused(&site).code(), "KHA1204");

    let site = programs::site(host_arch());
    site.put(&format!("{ETCD_RELEASE}/SHA256SUMS"), b"");
    assert_eq!(refused(&site).code(), "KHA1204");
}

#[test]
fn what_is_not_there_is_named_and_not_asked_for_again() {
    let site = site(host_arch());
    let path = path(KUBERNETES[0], host_arch());
    site.remove(&path);
    let error = refused(&site);
    assert_eq!(error.code(), "KHA1203");
    assert!(error.to_string().contains(&path), "{error}");
    let asked = site.take_asked();
    assert_eq!(asked.iter().filter(|asked| asked.path == path).count(), 1);
}

#[test]
fn programs_of_another_processor_under_the_wanted_ones_name_are_refused() {
    let other = if host_arch() == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let site = site(host_arch());
    let bytes = program("kubectl", other);
    let kubectl = path("kubectl", host_arch());
    site.put(&kubectl, &bytes);
    site.put(
        &format!("{kubectl}.sha256"),
        digest::of_bytes(&bytes).as_bytes(),
    );
    let error = refused(&site);
    assert_eq!(error.code(), "KHA1211");
    assert!(error.to_string().contains(other), "{error}");
}

#[test]
fn a_folder_that_says_otherwise_or_lacks_a_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    programs::bundle(dir.path());
    let folder = dir.path().join("programs");
    let source = Source::Folder(folder.clone());
    let refused = || {
        let order = order(source.clone(), dir.path().join("again.tar.gz"));
        create(&order, &mut |_| {}).unwrap_err().code()
    };
    let sum = folder.join("kubectl.sha256");
    fs::write(&sum, format!("{}  kubectl\n", "0".repeat(64))).unwrap();
    assert_eq!(refused(), "KHA1205");
    fs::remove_file(&sum).unwrap();
    let manifest = serde_json::json!({
        "kubernetes": "v1.29.0", "etcd": "3.5.16", "arch": host_arch(), "programs": {},
    });
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    assert_eq!(refused(), "KHA1209");
    fs::remove_file(folder.join("manifest.json")).unwrap();
    fs::remove_file(folder.join("etcd")).unwrap();
    assert_eq!(refused(), "KHA1206");
}
