//! A control plane that khactl did not make: etcd and kube-apiserver on every host, started by hand and left as
//! kubeadm leaves them. They listen on every address, and their authority is a file on each host.

use std::collections::BTreeMap;
use std::fs;
use std::fs::OpenOptions;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use khactl_lab::{LabHost, VIP};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::kube::KUBECONFIG;

/// Where the hosts have the authority of the API servers.
pub const FOREIGN_CA: &str = "/etc/khactl/kubernetes/ca.crt";
/// Where they have all that is made with it.
const PKI: &str = "/etc/khactl/kubernetes";
/// The port of the API servers, on every address of a host.
const API_PORT: u16 = 6443;

/// As anyone makes an authority with a server and an administrator below it. RSA, like kubeadm's.
const MAKE_PKI: &str = r#"
set -e
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=foreign-ca -keyout ca.key -out ca.crt
leaf() {
  openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
  printf '%s\n' "$3" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.crt"
}
leaf apiserver /CN=kube-apiserver "subjectAltName=$SANS"
leaf admin /O=system:masters/CN=foreign-admin extendedKeyUsage=clientAuth
openssl genrsa -out sa.key 2048
openssl rsa -in sa.key -pubout -out sa.pub
for file in ca.crt admin.crt admin.key; do base64 -w 0 "$file" > "$file.b64"; done
"#;

impl Cluster {
    /// Starts a program in a host with its output in the host's log folder. It dies with the thread that calls.
    #[track_caller]
    pub fn start_logged(
        &self,
        host: &str,
        log: &str,
        program: &str,
        arguments: &[String],
    ) -> Child {
        let path = self.host(host).log_dir().join(format!("{log}.log"));
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let (Ok(log), Ok(mut command)) = (opened, self.host(host).exec(program)) else {
            panic!("cannot start {program} on {host} with {}", path.display());
        };
        let Ok(errors) = log.try_clone() else {
            panic!("no second handle of {}", path.display());
        };
        command.args(arguments);
        match command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
        {
            Ok(child) => child,
            Err(error) => panic!("cannot start {program} on {host}: {error}"),
        }
    }
}

/// The foreign control plane. Dropped, what still runs is killed.
#[derive(Debug)]
pub struct Foreign {
    pki: TempDir,
    running: BTreeMap<String, Vec<Child>>,
}

impl Foreign {
    /// Starts etcd and kube-apiserver on every host; they come up on their own.
    #[track_caller]
    pub fn start(cluster: &Cluster) -> Self {
        let Ok(pki) = tempfile::tempdir() else {
            panic!("no temporary folder for certificates");
        };
        make_pki(cluster, pki.path());
        let mut foreign = Self {
            pki,
            running: BTreeMap::new(),
        };
        for host in cluster.names() {
            foreign.lay_out(cluster, &host);
            let address = cluster.host(&host).address();
            let etcd = etcd_arguments(cluster, &host, address);
            let api = apiserver_arguments(address);
            let children = vec![
                cluster.start_logged(&host, "foreign-etcd", "etcd", &etcd),
                cluster.start_logged(&host, "foreign-apiserver", "kube-apiserver", &api),
            ];
            foreign.running.insert(host, children);
        }
        foreign
    }

    /// Gives the client the administrator's kubeconfig, with the VIP as its server.
    #[track_caller]
    pub fn client_kubeconfig(&self, cluster: &Cluster, port: u16) {
        let data = |file: &str| {
            let path = self.pki.path().join(format!("{file}.b64"));
            match fs::read_to_string(&path) {
                Ok(data) => data,
                Err(error) => panic!("cannot read {}: {error}", path.display()),
            }
        };
        let text = format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: foreign\n\
             \x20 cluster:\n\
             \x20   server: https://{VIP}:{port}\n\
             \x20   certificate-authority-data: {}\n\
             users:\n\
             - name: admin\n\
             \x20 user:\n\
             \x20   client-certificate-data: {}\n\
             \x20   client-key-data: {}\n\
             contexts:\n\
             - name: foreign\n\
             \x20 context: {{cluster: foreign, user: admin}}\n\
             current-context: foreign\n",
            data("ca.crt"),
            data("admin.crt"),
            data("admin.key"),
        );
        cluster.write("client", KUBECONFIG, &text);
    }

    fn lay_out(&self, cluster: &Cluster, host: &str) {
        let folder = cluster.host(host).etc_dir().join("kubernetes");
        let files = [
            "ca.crt",
            "apiserver.crt",
            "apiserver.key",
            "sa.key",
            "sa.pub",
        ];
        self.copy(&folder, &files);
    }

    fn copy(&self, folder: &Path, files: &[&str]) {
        let copied = fs::create_dir_all(folder).and_then(|()| {
            files.iter().try_for_each(|file| {
                fs::copy(self.pki.path().join(file), folder.join(file)).map(drop)
            })
        });
        if let Err(error) = copied {
            panic!("cannot lay out {}: {error}", folder.display());
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        for child in self.running.values_mut().flatten() {
            // One that has ended already says so, and that is all right.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn make_pki(cluster: &Cluster, folder: &Path) {
    let addresses = cluster.lab().hosts().iter().map(LabHost::address);
    let sans: Vec<String> = addresses
        .chain([VIP, Ipv4Addr::LOCALHOST])
        .map(|address| format!("IP:{address}"))
        .collect();
    let made = Command::new("sh")
        .args(["-c", MAKE_PKI])
        .current_dir(folder)
        .env("SANS", sans.join(","))
        .output();
    match made {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("openssl: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("cannot run openssl: {error}"),
    }
}

fn etcd_arguments(cluster: &Cluster, host: &str, address: Ipv4Addr) -> Vec<String> {
    let members: Vec<String> = cluster
        .lab()
        .hosts()
        .iter()
        .map(|host| format!("{}=http://{}:2380", host.name(), host.address()))
        .collect();
    vec![
        format!("--name={host}"),
        "--data-dir=/var/lib/khactl/foreign-etcd".to_owned(),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        format!("--listen-peer-urls=http://{address}:2380"),
        format!("--initial-advertise-peer-urls=http://{address}:2380"),
        format!("--initial-cluster={}", members.join(",")),
    ]
}

fn apiserver_arguments(address: Ipv4Addr) -> Vec<String> {
    vec![
        format!("--advertise-address={address}"),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--secure-port={API_PORT}"),
        "--insecure-port=0".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--client-ca-file={PKI}/ca.crt"),
        format!("--tls-cert-file={PKI}/apiserver.crt"),
        format!("--tls-private-key-file={PKI}/apiserver.key"),
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={PKI}/sa.pub"),
        format!("--service-account-signing-key-file={PKI}/sa.key"),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
    ]
}
