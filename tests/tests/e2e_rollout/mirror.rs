//! A mirror of the release sites beside the hosts, by HTTP, with the programs under test.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use khactl_tests::{Hosts, Running, SOON, built_bundle, bundle_versions, until};

/// The machine beside the hosts.
const ADDRESS: &str = "10.77.0.1";
const PORT: &str = "8000";

/// Upstream's paths, for the bundle in the folder $1 with Kubernetes $2 and etcd $3.
const LAY_OUT: &str = r#"set -e
arch="$(dpkg --print-architecture)"
programs="release/$2/bin/linux/$arch"
release="etcd-io/etcd/releases/download/v$3"
top="etcd-v$3-linux-$arch"
mkdir -p "$programs" "$release"
for program in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
  ln -s "$1/$program" "$programs/$program"
  sha256sum <"$1/$program" | cut -d' ' -f1 >"$programs/$program.sha256"
done
archive="$PWD/$release/$top.tar.gz"
(cd "$1" && tar --transform "s|^|$top/|" -cf - etcd*) | gzip -1 >"$archive"
cd "$release" && sha256sum "$top.tar.gz" >SHA256SUMS
"#;

/// The mirror. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Mirror {
    server: Child,
    log: PathBuf,
}

impl Mirror {
    /// Returns when it answers.
    #[track_caller]
    pub(crate) fn serve(hosts: &Hosts) -> Self {
        let folder = hosts.scratch().join("mirror");
        fs::create_dir_all(&folder).expect("a folder for the mirror");
        let (kubernetes, etcd) = bundle_versions();
        let mut lay_out = Command::new("sh");
        lay_out
            .args(["-c", LAY_OUT, "sh"])
            .arg(built_bundle())
            .args([kubernetes, etcd])
            .current_dir(&folder);
        Running::start("laying the mirror out", lay_out)
            .wait(SOON)
            .ok();
        let log = hosts.scratch().join("mirror.log");
        let server = hosts
            .beside("python3")
            .args(["-m", "http.server", "--bind", ADDRESS, PORT])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log for the mirror"))
            .spawn()
            .expect("the mirror starts");
        let mirror = Self { server, log };
        let ask = format!("curl -fsS -o /dev/null {}", Self::url());
        until("the mirror answers", SOON, || {
            hosts.sh("client", &ask).is_ok().then_some(())
        });
        mirror
    }

    pub(crate) fn url() -> String {
        format!("http://{ADDRESS}:{PORT}")
    }

    /// Whether something was fetched whose path ends so.
    pub(crate) fn served(&self, path: &str) -> bool {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let answered = format!("{path} HTTP/1.1\" 200");
        log.lines().any(|line| line.contains(&answered))
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // One that has ended already says so, and that is all right.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
