//! Certificates: what a host is entitled to, signed by the authority that the cluster state
//! holds sealed. Only the leader signs for other hosts.

use khactl_model::spec::{ClusterSpec, Mode, ValidSpec};
use khactl_model::state::{ClusterState, Role};
use khactl_pki::{
    Authority, AuthorityName, CheckedRequest, Kubeconfig, LeafFacts, LeafKind, Pin, PkiError,
    SealingKey, Serial, Subject, profile,
};
use khactl_proto::v1;
use std::net::IpAddr;
use std::time::Duration;
use zeroize::Zeroizing;

use crate::node::Node;
use crate::operation::now_s;
use crate::refused::{Refused, chain};
use crate::time;

/// A leader signs at once.
const SIGN_TIMEOUT: Duration = Duration::from_secs(5);
/// The authority of the agents.
pub const AGENT_AUTHORITY: &str = "khactl-ca";

/// Random bytes from the kernel.
///
/// # Errors
/// The kernel's.
pub fn entropy<const N: usize>() -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    khactl_sys::entropy::fill(&mut bytes).map_err(|error| {
        Refused::new(
            "KHA3045",
            "ask the kernel for random bytes",
            error,
            "try again; a kernel that has none is still starting",
        )
    })?;
    Ok(bytes)
}

/// A certificate's serial number.
///
/// # Errors
/// The kernel has no random bytes.
pub fn serial() -> Result<Serial, Refused> {
    Ok(Serial::new(entropy()?))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A wall-clock time for people.
pub fn wall_text(at_ms: i64) -> String {
    ::time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .map_or_else(|_| format!("{at_ms} ms"), |at| at.to_string())
}

/// The authority's pin for tokens.
///
/// # Errors
/// The state holds no agents' authority.
pub fn agent_pin(state: &ClusterState) -> Result<Pin, Refused> {
    state
        .authorities
        .get(AGENT_AUTHORITY)
        .and_then(|a| LeafFacts::from_pem(&a.certificate_pem).ok())
        .map(|facts| facts.pin)
        .ok_or_else(|| no_authority(AGENT_AUTHORITY))
}

/// SHA-256 of a request's public key.
///
/// # Errors
/// It is no request, or its own signature does not hold.
pub fn key_pin(csr_pem: &str) -> Result<String, Refused> {
    CheckedRequest::from_pem(csr_pem)
        .map(|request| request.pin().to_hex())
        .map_err(|error| pki_refused("read a certificate request", &error))
}

/// Signs a request for a leaf of that host with that authority.
///
/// # Errors
/// The request's or the cryptography's.
pub fn sign_with(
    authority: &Authority,
    kind: LeafKind,
    spec: &ValidSpec,
    (host_name, address): (&str, IpAddr),
    csr_pem: &str,
) -> Result<String, Refused> {
    let doing = format!("sign a certificate `{}` for host {host_name}", kind.name());
    let vips: Vec<IpAddr> = spec.vip.addresses.iter().map(|v| v.address()).collect();
    let subject = Subject {
        host_name,
        host_addresses: &[address],
        vip_addresses: &vips,
        service_address: spec.network.first_service_address(),
        cluster_domain: &spec.network.cluster_domain,
        extra_sans: &spec.control_plane.api_server.extra_sans,
    };
    let refused = |error: PkiError| pki_refused(&doing, &error);
    let request = CheckedRequest::from_pem(csr_pem).map_err(refused)?;
    authority
        .sign(&request, &profile(kind, &subject), now_s(), serial()?)
        .map_err(refused)
}

/// Signs what a host asks for, if it is entitled to it. Only the request's key is used.
///
/// # Errors
/// An unknown leaf or host, or the cryptography's.
pub fn sign(
    state: &ClusterState,
    sealing: &SealingKey,
    host_name: &str,
    leaf: &str,
    csr_pem: &str,
) -> Result<String, Refused> {
    let doing = format!("sign a certificate `{leaf}` for host {host_name}");
    let kind: LeafKind = leaf.parse().map_err(|_| {
        Refused::new(
            "KHA3046",
            &doing,
            "there is no such leaf",
            "run the same version of khad on all hosts",
        )
    })?;
    let host = state
        .hosts
        .get(host_name)
        .ok_or_else(|| Refused::new("KHA2020", &doing, "there is no such host", "let it join"))?;
    let entitled = kind != LeafKind::AdminIdentity
        && (host.role == Role::ControlPlane || kind.is_for_witness())
        && (state.runs_etcd() || kind.issuer() == AuthorityName::Agents);
    if !entitled {
        return Err(Refused::new(
            "KHA3049",
            &doing,
            format!(
                "a {} host of this cluster is not entitled to it",
                host.role.as_str()
            ),
            "nothing to do: no khad asks for it",
        ));
    }
    let spec = state
        .spec_yaml()
        .and_then(|yaml| ClusterSpec::parse(yaml).ok())
        .ok_or_else(|| no_authority("spec"))?;
    // The others know a host by its agent's key.
    if kind == LeafKind::Agent && key_pin(csr_pem)? != host.key_pin {
        return Err(Refused::new(
            "KHA3049",
            &doing,
            "the request is by another key than the one that the host was admitted with",
            "nothing to do: no khad asks for it",
        ));
    }
    let authority = authority(state, sealing, kind.issuer())?;
    sign_with(&authority, kind, &spec, (host_name, host.address), csr_pem)
}

/// Has a request for a leaf of this host signed: by the leader, or here if no other host leads.
///
/// # Errors
/// The leader's refusal, or that it does not answer.
pub async fn signed(node: &Node, leaf: &str, csr_pem: String) -> Result<String, Refused> {
    let Some(leader) = node.leader_address() else {
        let host_name = &node.member.host_name;
        return sign(&node.state(), &node.sealing, host_name, leaf, &csr_pem);
    };
    let request = v1::SignRequest {
        leaf: leaf.to_owned(),
        csr_pem,
    };
    node.peer(leader)
        .sign(time::within(SIGN_TIMEOUT, request))
        .await
        .map(|answer| answer.into_inner().certificate_pem)
        .map_err(|status| {
            Refused::of_call(&format!("have the certificate `{leaf}` issued"), &status)
        })
}

fn authority(
    state: &ClusterState,
    sealing: &SealingKey,
    name: AuthorityName,
) -> Result<Authority, Refused> {
    let known = state
        .authorities
        .get(name.as_str())
        .ok_or_else(|| no_authority(name.as_str()))?;
    let key = authority_key(state, sealing, name.as_str())?;
    Authority::load(name, &known.certificate_pem, &key)
        .map_err(|error| pki_refused("open an authority", &error))
}

/// An authority's private key, unsealed.
///
/// # Errors
/// It is not there, or the sealing key does not fit.
pub fn authority_key(
    state: &ClusterState,
    sealing: &SealingKey,
    name: &str,
) -> Result<Zeroizing<String>, Refused> {
    let known = state
        .authorities
        .get(name)
        .ok_or_else(|| no_authority(name))?;
    let bytes = unseal(state, sealing, name, &known.sealed_key)?;
    String::from_utf8(bytes.to_vec())
        .map(Zeroizing::new)
        .map_err(|_| no_authority(name))
}

/// A secret of the replicated state, unsealed.
///
/// # Errors
/// It is not there, or the sealing key does not fit.
pub fn secret(
    state: &ClusterState,
    sealing: &SealingKey,
    name: &str,
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let known = state.secrets.get(name).ok_or_else(|| no_authority(name))?;
    unseal(state, sealing, name, &known.sealed)
}

fn unseal(
    state: &ClusterState,
    sealing: &SealingKey,
    name: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let cluster = state.cluster.as_ref().ok_or_else(|| no_authority(name))?;
    sealing
        .unseal(&cluster.id, name, sealed)
        .map_err(|error| pki_refused(&format!("open the sealed secret {name}"), &error))
}

/// The administrator's kubeconfig: the API at the VIP. The leaf is the one that this host keeps
/// for root.
///
/// # Errors
/// This host has no such leaf.
pub fn admin_kubeconfig(node: &Node) -> Result<String, Refused> {
    let doing = "make a kubeconfig";
    let state = node.state();
    let spec = state
        .spec_yaml()
        .and_then(|yaml| ClusterSpec::parse(yaml).ok())
        .ok_or_else(|| no_authority("spec"))?;
    let vip = spec
        .vip
        .addresses
        .first()
        .ok_or_else(|| no_authority("VIP"))?;
    let server = format!(
        "https://{}",
        std::net::SocketAddr::new(vip.address(), spec.balancer.port)
    );
    if spec.control_plane.mode == Mode::External {
        return Err(Refused::new(
            "KHA2051",
            doing,
            "something else runs the API servers of this cluster: khactl has neither their authority nor a user there",
            format!(
                "take the kubeconfig of what runs them (kubeadm: /etc/kubernetes/admin.conf) and write \"server: {server}\" in it"
            ),
        ));
    }
    let read = |file: &str| {
        let path = node.config.data(&format!("pki/khad/{file}"));
        std::fs::read_to_string(&path).map_err(|error| {
            Refused::new(
                "KHA3047",
                doing,
                format!("{}: {error}", path.display()),
                "ask a control-plane host; a witness keeps no administrator's certificate",
            )
        })
    };
    let authority = state
        .authorities
        .get("kubernetes")
        .ok_or_else(|| no_authority("kubernetes"))?;
    Ok(Kubeconfig {
        cluster: &spec.name,
        server: &server,
        user: "kubernetes-admin",
        authority_pem: &authority.certificate_pem,
        certificate_pem: &read("admin.crt")?,
        key_pem: &read("admin.key")?,
    }
    .render()
    .to_string())
}

/// What the cryptography says, as a refusal.
pub fn pki_refused(doing: &str, error: &PkiError) -> Refused {
    Refused::new(
        "KHA3044",
        doing,
        chain(error),
        "run the same version of khad on all hosts; report this as a bug if they are",
    )
}

fn no_authority(name: &str) -> Refused {
    Refused::new(
        "KHA3048",
        "use the cluster's authorities",
        format!("the cluster state holds no {name} yet"),
        "wait until this host has caught up with the others, then try again",
    )
}

#[cfg(test)]
mod tests {
    use khactl_model::command::{Command, CreateCluster, Entry, SealedAuthority};
    use khactl_pki::{LeafKey, NONCE_BYTES};

    use super::*;

    const SPEC: &str = "apiVersion: khactl.io/v1alpha1\n\
                        kind: Cluster\n\
                        metadata: {name: prod}\n\
                        spec:\n\
                        \x20 vip: {addresses: [10.77.0.100/24]}\n\
                        \x20 balancer: {port: 8443}\n\
                        \x20 controlPlane: {mode: external}\n";
    const CLUSTER: &str = "00112233445566778899aabbccddeeff";

    /// A cluster of cp1, whose agent has that key.
    fn cluster(key: &LeafKey, sealing: &SealingKey) -> ClusterState {
        let authority =
            Authority::generate(AuthorityName::Agents, "prod", now_s(), serial().unwrap()).unwrap();
        let sealed_key = authority.seal(sealing, CLUSTER, [5; NONCE_BYTES]);
        let mut state = ClusterState::default();
        let create = CreateCluster {
            id: CLUSTER.to_owned(),
            name: "prod".to_owned(),
            spec_yaml: SPEC.to_owned(),
            host_name: "cp1".to_owned(),
            address: [10, 77, 0, 11].into(),
            key_pin: key.pin().to_hex(),
            authorities: vec![SealedAuthority {
                name: AGENT_AUTHORITY.to_owned(),
                certificate_pem: authority.certificate_pem().to_owned(),
                sealed_key: sealed_key.unwrap(),
            }],
            secrets: Vec::new(),
        };
        state
            .apply(&Entry {
                actor: "test".to_owned(),
                at_ms: 0,
                command: Command::CreateCluster(create),
            })
            .unwrap();
        state
    }

    #[test]
    fn an_agents_certificate_is_signed_for_the_key_that_its_host_was_admitted_with_alone() {
        let sealing = SealingKey::new([3; 32]);
        let [own, other] = [(); 2].map(|()| LeafKey::generate("agent").unwrap());
        let state = cluster(&own, &sealing);
        let sign = |leaf: LeafKind, key: &LeafKey| {
            let request = key.request("cp1").unwrap();
            sign(&state, &sealing, "cp1", leaf.name(), &request)
        };
        let signed = sign(LeafKind::Agent, &own).unwrap();
        let facts = LeafFacts::from_pem(&signed).unwrap();
        assert_eq!(facts.common_name, "khactl:host:cp1");
        assert_eq!(facts.pin, own.pin());
        for (leaf, key) in [
            (LeafKind::Agent, &other),
            // Nor what no host of this cluster has.
            (LeafKind::AdminIdentity, &own),
            (LeafKind::EtcdServer, &own),
        ] {
            assert_eq!(sign(leaf, key).unwrap_err().code, "KHA3049", "{leaf}");
        }
    }
}
