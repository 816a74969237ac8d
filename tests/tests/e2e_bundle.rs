//! One host is given a bundle; the others, which have neither it nor a way to its source, fetch it from their peers.

use std::fs;

use khactl_tests::Cluster;
use serde::Deserialize;

const HOSTS: usize = 3;
const FOLDER: &str = "/var/lib/khactl/bundles/v1.20.2";

/// A bundle as `khactl bundle create`, `import` and `list` tell of it.
#[derive(Debug, Deserialize)]
struct Told {
    path: String,
    digest: String,
}

/// What the bundle that was built says of itself.
#[derive(Deserialize)]
struct Manifest {
    etcd: String,
}

#[test]
fn hosts_without_the_bundle_fetch_it_from_the_one_that_has_it() {
    let cluster = Cluster::boot("e2ebundle", HOSTS);
    let built = cluster.lab().bundle_inside().unwrap_or_default();
    let built = built.to_string_lossy().into_owned();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("bundle.tar.gz");
    let file = file.to_string_lossy().into_owned();

    cluster.step("a bundle is made of a folder");
    let manifest = cluster
        .run("cp1", "cat", &[&format!("{built}/manifest.json")])
        .ok();
    let Manifest { etcd } = serde_json::from_str(&manifest).expect("a manifest");
    let made: Told = told(
        &cluster
            .khactl(
                "cp1",
                &[
                    "bundle",
                    "create",
                    "--kubernetes",
                    "v1.20.2",
                    "--etcd",
                    &etcd,
                    "--from",
                    &built,
                    "--out",
                    &file,
                ],
            )
            .ok(),
    );

    cluster.step("no host has it: init is refused");
    let spec = cluster.spec().bundle(FOLDER);
    let refused = cluster
        .init_with("cp1", &spec.yaml())
        .refused_with("KHA1106");
    assert!(refused.wrong.contains(FOLDER), "{}", refused.wrong);

    cluster.step("another digest than the wanted one is refused");
    let other = "0".repeat(64);
    let import = ["bundle", "import", &file, "--digest", &other];
    cluster.khactl("cp1", &import).refused_with("KHA1212");

    cluster.step("the first host takes it in");
    let import = ["bundle", "import", &file, "--digest", &made.digest];
    let imported: Told = told(&cluster.khactl("cp1", &import).ok());
    assert_eq!(
        (imported.path.as_str(), &imported.digest),
        (FOLDER, &made.digest)
    );
    fs::remove_file(&file).expect("the file is the first host's alone no more");

    cluster.step("init, and two joins at once");
    cluster.form(&spec);
    for host in cluster.names() {
        let there: Vec<Told> = told(&cluster.khactl(&host, &["bundle", "list"]).ok());
        let there: Vec<_> = there.iter().map(|b| (b.path.as_str(), &b.digest)).collect();
        assert_eq!(there, [(FOLDER, &made.digest)], "on {host}");
        // A folder that is still being filled has a name with a dot.
        let all = cluster
            .run(&host, "ls", &["-A", "/var/lib/khactl/bundles"])
            .ok();
        assert_eq!(all.trim(), "v1.20.2", "on {host}");
    }
    cluster.put("through-the-pulled-programs");
    cluster.assert_there(&["through-the-pulled-programs"]);
}

fn told<'a, T: Deserialize<'a>>(json: &'a str) -> T {
    match serde_json::from_str(json) {
        Ok(told) => told,
        Err(error) => panic!("{json:?}: {error}"),
    }
}
