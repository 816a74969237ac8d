//! Which folders, files and leaves a host needs, by what runs on it. Everything of a component
//! lies in a folder that its user alone can read.

use khactl_model::component::ComponentName;
use khactl_model::spec::{Mode, ValidSpec};
use khactl_model::state::{ClusterState, Host, Role};

use super::leaf::{self, LeafPlace};
use crate::cx::Paths;
use crate::effect::Content;

/// Users pass through it to their own folders; only root lists it.
const PASSAGE: u32 = 0o711;
const PRIVATE_FOLDER: u32 = 0o700;
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Which paths and leaves a host's facts must tell of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Folders; in the facts a folder's digest is empty.
    pub folders: Vec<String>,
    /// Files, those of the leaves included.
    pub files: Vec<String>,
    /// Leaves.
    pub leaves: Vec<LeafPlace>,
}

/// What to look at before planning this host: anything else in [`khactl_model::facts::Facts`]'
/// files is not read.
pub fn watched(spec: &ValidSpec, state: &ClusterState, host: &Host, paths: &Paths) -> Watched {
    let wanted = Wanted::of(spec, state, host, paths);
    let pairs = wanted
        .pairs
        .iter()
        .flat_map(|pair| [&pair.private, &pair.public]);
    let files = wanted
        .texts
        .iter()
        .chain(pairs)
        .map(|file| file.path.clone());
    let leaves = wanted.leaves.iter();
    Watched {
        folders: wanted
            .folders
            .iter()
            .map(|folder| folder.path.clone())
            .collect(),
        files: files
            .chain(leaves.flat_map(|leaf| [leaf.cert.clone(), leaf.key.clone()]))
            .collect(),
        leaves: wanted.leaves,
    }
}

/// A folder as it should be.
pub(super) struct Folder {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) owner: Option<&'static str>,
}

/// A file as it should be.
pub(super) struct File {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) owner: Option<&'static str>,
    pub(super) content: Content,
}

/// A sealed key and the text that says which key it is.
pub(super) struct Pair {
    pub(super) private: File,
    pub(super) public: File,
}

/// All that a host should have.
#[derive(Default)]
pub(super) struct Wanted {
    /// Outer ones first; empty when this host has no use for any of it.
    pub(super) folders: Vec<Folder>,
    pub(super) leaves: Vec<LeafPlace>,
    pub(super) pairs: Vec<Pair>,
    pub(super) texts: Vec<File>,
    /// What should be written and is not in the cluster state.
    pub(super) unknown: Vec<&'static str>,
}

impl Wanted {
    pub(super) fn of(spec: &ValidSpec, state: &ClusterState, host: &Host, paths: &Paths) -> Self {
        let mut wanted = Self::default();
        if spec.control_plane.mode == Mode::External {
            return wanted;
        }
        let serves_api = host.role == Role::ControlPlane;
        wanted.folder(format!("{}/pki", paths.data), PASSAGE, None);
        wanted.folder(paths.pki("khad"), PRIVATE_FOLDER, None);
        wanted.authority(state, "etcd", paths.pki("khad") + "/etcd-ca.crt", None);
        wanted.folder(
            paths.etcd_data(),
            PRIVATE_FOLDER,
            ComponentName::Etcd.user(),
        );
        wanted.component_folder(paths, ComponentName::Etcd);
        wanted.authority(
            state,
            "etcd",
            paths.pki("etcd") + "/ca.crt",
            ComponentName::Etcd.user(),
        );
        if serves_api {
            wanted.authority(
                state,
                "kubernetes",
                paths.pki("khad") + "/kubernetes-ca.crt",
                None,
            );
            wanted.of_apiserver(state, paths);
            wanted.of_controller_manager(spec, state, paths);
            wanted.of_scheduler(spec, state, paths);
        }
        wanted.leaves = leaf::places(paths, serves_api);
        wanted.unknown.dedup();
        wanted
    }

    fn of_apiserver(&mut self, state: &ClusterState, paths: &Paths) {
        let name = ComponentName::KubeApiserver;
        let pki = paths.pki(name.as_str());
        self.component_folder(paths, name);
        for (authority, file) in [
            ("kubernetes", "kubernetes-ca.crt"),
            ("etcd", "etcd-ca.crt"),
            ("front-proxy", "front-proxy-ca.crt"),
        ] {
            self.authority(state, authority, format!("{pki}/{file}"), name.user());
        }
        self.service_account(state, &pki, name.user());
    }

    fn of_controller_manager(&mut self, spec: &ValidSpec, state: &ClusterState, paths: &Paths) {
        let name = ComponentName::KubeControllerManager;
        let pki = paths.pki(name.as_str());
        self.component_folder(paths, name);
        self.authority(
            state,
            "front-proxy",
            format!("{pki}/front-proxy-ca.crt"),
            name.user(),
        );
        self.service_account(state, &pki, name.user());
        // It signs certificates for kubelets, so it holds that authority's key.
        match state.authorities.get("kubernetes") {
            Some(authority) => self.pairs.push(Pair {
                private: File {
                    path: format!("{pki}/kubernetes-ca.key"),
                    mode: SECRET,
                    owner: name.user(),
                    content: Content::AuthorityKey("kubernetes"),
                },
                public: File {
                    path: format!("{pki}/kubernetes-ca.crt"),
                    mode: PUBLIC,
                    owner: name.user(),
                    content: Content::Text(authority.certificate_pem.clone()),
                },
            }),
            None => self.unknown.push("kubernetes"),
        }
        self.kubeconfig(spec, paths, name, "controller-manager");
    }

    fn of_scheduler(&mut self, spec: &ValidSpec, state: &ClusterState, paths: &Paths) {
        let name = ComponentName::KubeScheduler;
        let pki = paths.pki(name.as_str());
        self.component_folder(paths, name);
        for (authority, file) in [
            ("kubernetes", "kubernetes-ca.crt"),
            ("front-proxy", "front-proxy-ca.crt"),
        ] {
            self.authority(state, authority, format!("{pki}/{file}"), name.user());
        }
        self.kubeconfig(spec, paths, name, "scheduler");
    }

    fn folder(&mut self, path: String, mode: u32, owner: Option<&'static str>) {
        self.folders.push(Folder { path, mode, owner });
    }

    fn component_folder(&mut self, paths: &Paths, name: ComponentName) {
        self.folder(paths.pki(name.as_str()), PRIVATE_FOLDER, name.user());
    }

    fn authority(
        &mut self,
        state: &ClusterState,
        name: &'static str,
        path: String,
        owner: Option<&'static str>,
    ) {
        match state.authorities.get(name) {
            Some(authority) => self.texts.push(File {
                path,
                mode: PUBLIC,
                owner,
                content: Content::Text(authority.certificate_pem.clone()),
            }),
            None => self.unknown.push(name),
        }
    }

    fn service_account(&mut self, state: &ClusterState, pki: &str, owner: Option<&'static str>) {
        match state.secrets.get("service-account") {
            Some(secret) => self.pairs.push(Pair {
                private: File {
                    path: format!("{pki}/service-account.key"),
                    mode: SECRET,
                    owner,
                    content: Content::Secret("service-account"),
                },
                public: File {
                    path: format!("{pki}/service-account.pub"),
                    mode: PUBLIC,
                    owner,
                    content: Content::Text(secret.public_pem.clone()),
                },
            }),
            None => self.unknown.push("service-account"),
        }
    }

    fn kubeconfig(
        &mut self,
        spec: &ValidSpec,
        paths: &Paths,
        name: ComponentName,
        leaf: &'static str,
    ) {
        let pki = paths.pki(name.as_str());
        let cluster = &spec.name;
        let port = spec.balancer.port;
        let text = format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: {cluster}\n\
             \x20 cluster:\n\
             \x20   server: https://127.0.0.1:{port}\n\
             \x20   certificate-authority: {pki}/kubernetes-ca.crt\n\
             users:\n\
             - name: system:{name}\n\
             \x20 user:\n\
             \x20   client-certificate: {pki}/{leaf}.crt\n\
             \x20   client-key: {pki}/{leaf}.key\n\
             contexts:\n\
             - name: {cluster}\n\
             \x20 context:\n\
             \x20   cluster: {cluster}\n\
             \x20   user: system:{name}\n\
             current-context: {cluster}\n"
        );
        self.texts.push(File {
            path: paths.kubeconfig(name),
            mode: SECRET,
            owner: name.user(),
            content: Content::Text(text),
        });
    }
}
