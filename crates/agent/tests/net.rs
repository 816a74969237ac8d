//! The agents' channel over real sockets: who is let in, and what each failure is called.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use khactl_agent::net::{
    DialError, LiveCertificate, NetError, Peers, ProbeAnswer, TlsFiles, TlsListener, UnixSocket,
    connect_pinned, identity, probe_back, refusal, require_admin, require_host,
};
use khactl_proto::v1::vip_client::VipClient;
use khactl_proto::v1::vip_server::{Vip, VipServer};
use khactl_proto::v1::{
    VipFeedRequest, VipFeedResponse, VipHandOverRequest, VipHandOverResponse, VipStatusRequest,
    VipStatusResponse,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData, SanType,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroizing;

const DAY: Duration = Duration::from_hours(24);

/// An authority made for one test.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    pin: [u8; 32],
}

fn pin(key: &KeyPair) -> [u8; 32] {
    let info = key.subject_public_key_info();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &info);
    hash.as_ref().try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn validity(params: &mut CertificateParams, from: i64, to: i64) {
    let day = i64::try_from(DAY.as_secs()).unwrap();
    let at = |days: i64| {
        let now = khactl_sys::clock::wall()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let at = i64::try_from(now).unwrap() + days * day;
        std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap())
    };
    params.not_before = at(from).into();
    params.not_after = at(to).into();
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let pin = pin(&key);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params
            .distinguished_name
            .push(DnType::CommonName, "khactl-ca");
        validity(&mut params, -1, 10);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
            pin,
        }
    }

    fn leaf(&self, organisation: &str, name: &str, days: (i64, i64)) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        validity(&mut params, days.0, days.1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsFiles {
            ca_pem: self.pem.clone(),
            cert_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        }
    }

    fn host(&self, name: &str) -> Arc<LiveCertificate> {
        let name = format!("khactl:host:{name}");
        LiveCertificate::new(&self.leaf("khactl:hosts", &name, (-1, 5))).unwrap()
    }

    fn admin(&self) -> Arc<LiveCertificate> {
        LiveCertificate::new(&self.leaf("khactl:admins", "ann", (-1, 5))).unwrap()
    }
}

/// Feed asks for no role, Status for a host, HandOver for an admin. Feed tells who called.
struct Doors;

#[tonic::async_trait]
impl Vip for Doors {
    async fn feed(
        &self,
        request: Request<VipFeedRequest>,
    ) -> Result<Response<VipFeedResponse>, Status> {
        Ok(Response::new(VipFeedResponse {
            problems: vec![identity(&request).to_string()],
        }))
    }

    async fn status(
        &self,
        request: Request<VipStatusRequest>,
    ) -> Result<Response<VipStatusResponse>, Status> {
        let version = require_host(&request)?;
        Ok(Response::new(VipStatusResponse {
            version,
            ..VipStatusResponse::default()
        }))
    }

    async fn hand_over(
        &self,
        request: Request<VipHandOverRequest>,
    ) -> Result<Response<VipHandOverResponse>, Status> {
        require_admin(&request)?;
        Ok(Response::new(VipHandOverResponse { held: true }))
    }
}

fn routes() -> Routes {
    Routes::new(VipServer::new(Doors))
}

/// A served port, stopped by `stop`.
struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinSet<Result<(), NetError>>,
}

impl Served {
    async fn at(address: SocketAddr, live: &Arc<LiveCertificate>) -> Self {
        let listener = TlsListener::bind(address, live).await.unwrap();
        let address = listener.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(listener.serve(routes(), async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            task,
        }
    }

    async fn anywhere(live: &Arc<LiveCertificate>) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), live).await
    }

    async fn stop(mut self) {
        self.stop.send(()).unwrap();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

async fn who(client: &mut VipClient<tonic::transport::Channel>) -> Result<String, Status> {
    let answer = client.feed(VipFeedRequest::default()).await?;
    Ok(answer.into_inner().problems.concat())
}

#[tokio::test]
async fn certificates_give_hosts_and_admins_their_roles() {
    let authority = Authority::new();
    let served = Served::anywhere(&authority.host("cp1")).await;

    let mut host = VipClient::new(Peers::new(authority.host("cp2")).channel(served.address));
    assert_eq!(who(&mut host).await.unwrap(), "host:cp2");
    let answer = host.status(VipStatusRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().version, "cp2");
    let refused = host
        .hand_over(VipHandOverRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        refusal(&refused).unwrap().wrong.contains("host:cp2"),
        "{refused}"
    );

    let mut admin = VipClient::new(Peers::new(authority.admin()).channel(served.address));
    assert_eq!(who(&mut admin).await.unwrap(), "admin:ann");
    assert!(
        admin
            .hand_over(VipHandOverRequest::default())
            .await
            .unwrap()
            .into_inner()
            .held
    );
    assert_eq!(
        admin
            .status(VipStatusRequest::default())
            .await
            .unwrap_err()
            .code(),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn right_pin_lets_the_anonymous_joiner_call_what_needs_no_role() {
    let authority = Authority::new();
    let served = Served::anywhere(&authority.host("cp1")).await;
    let channel = connect_pinned(&served.address.to_string(), authority.pin)
        .await
        .unwrap();
    let mut joiner = VipClient::new(channel);
    assert_eq!(who(&mut joiner).await.unwrap(), "anonymous");
    for code in [
        joiner
            .status(VipStatusRequest::default())
            .await
            .unwrap_err()
            .code(),
        joiner
            .hand_over(VipHandOverRequest::default())
            .await
            .unwrap_err()
            .code(),
    ] {
        assert_eq!(code, Code::PermissionDenied);
    }
}

#[tokio::test]
async fn pin_of_another_authority_is_refused_before_anything_is_sent() {
    let authority = Authority::new();
    let served = Served::anywhere(&authority.host("cp1")).await;
    let error = connect_pinned(&served.address.to_string(), Authority::new().pin)
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::WrongPin { .. }), "{error}");
}

#[tokio::test]
async fn pinned_authority_beside_a_leaf_it_never_signed_is_refused() {
    let (pinned, foreign) = (Authority::new(), Authority::new());
    let mut files = foreign.leaf("khactl:hosts", "khactl:host:cp1", (-1, 5));
    files.ca_pem = pinned.pem.clone();
    let served = Served::anywhere(&LiveCertificate::new(&files).unwrap()).await;
    let error = connect_pinned(&served.address.to_string(), pinned.pin)
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::WrongPin { .. }), "{error}");
}

#[tokio::test]
async fn certificate_out_of_its_dates_is_told_from_a_wrong_pin() {
    let authority = Authority::new();
    for days in [(-5, -1), (1, 5)] {
        let files = authority.leaf("khactl:hosts", "khactl:host:cp1", days);
        let served = Served::anywhere(&LiveCertificate::new(&files).unwrap()).await;
        let error = connect_pinned(&served.address.to_string(), authority.pin)
            .await
            .unwrap_err();
        assert!(matches!(error, DialError::Dates { .. }), "{error}");
    }
}

#[tokio::test]
async fn pinned_connect_names_what_is_in_its_way() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let error = connect_pinned(&address.to_string(), [0; 32])
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }), "{error}");

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let error = connect_pinned(&address.to_string(), [0; 32])
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::NotTls { .. }), "{error}");

    for bad in ["cp1", "cp1:", ":9443", "fe80::1:9443", "cp1:99999"] {
        let error = connect_pinned(bad, [0; 32]).await.unwrap_err();
        assert!(
            matches!(error, DialError::Endpoint { .. }),
            "{bad}: {error}"
        );
    }
}

#[tokio::test]
async fn client_of_a_foreign_authority_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let served = Served::anywhere(&ours.host("cp1")).await;
    // It trusts our authority, so that it is the server who has to refuse.
    let mut files = theirs.leaf("khactl:admins", "mallory", (-1, 5));
    files.ca_pem = ours.pem.clone();
    let stranger = LiveCertificate::new(&files).unwrap();
    let mut client = VipClient::new(Peers::new(stranger).channel(served.address));
    assert!(who(&mut client).await.is_err());
    // The port still serves others.
    let mut host = VipClient::new(Peers::new(ours.host("cp2")).channel(served.address));
    assert_eq!(who(&mut host).await.unwrap(), "host:cp2");
}

#[tokio::test]
async fn server_of_a_foreign_authority_gets_no_call() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let served = Served::anywhere(&theirs.host("cp1")).await;
    let mut client = VipClient::new(Peers::new(ours.host("cp2")).channel(served.address));
    assert_eq!(
        who(&mut client).await.unwrap_err().code(),
        Code::Unavailable
    );
}

#[tokio::test]
async fn peer_must_be_the_host_that_is_known_for_the_address() {
    let authority = Authority::new();
    let served = Served::anywhere(&authority.host("cp1")).await;
    let peers = Peers::new(authority.host("cp2"));

    peers.set_members([(served.address, "cp3".to_owned())]);
    let mut wrong = VipClient::new(peers.channel(served.address));
    assert_eq!(who(&mut wrong).await.unwrap_err().code(), Code::Unavailable);

    peers.set_members([(served.address, "cp1".to_owned())]);
    let mut right = VipClient::new(peers.channel(served.address));
    assert_eq!(who(&mut right).await.unwrap(), "host:cp2");
}

#[tokio::test]
async fn admin_certificate_does_not_pass_for_a_peer() {
    let authority = Authority::new();
    let served = Served::anywhere(&authority.admin()).await;
    let mut client = VipClient::new(Peers::new(authority.host("cp2")).channel(served.address));
    assert_eq!(
        who(&mut client).await.unwrap_err().code(),
        Code::Unavailable
    );
}

#[tokio::test]
async fn clients_that_never_finish_their_handshake_block_nobody() {
    let authority = Authority::new();
    let served = Served::anywhere(&authority.host("cp1")).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    let mut host = VipClient::new(Peers::new(authority.host("cp2")).channel(served.address));
    assert_eq!(who(&mut host).await.unwrap(), "host:cp2");
    // More were silent than may shake hands at once: the first ones were let go at once,
    // and nothing was sent to them.
    let mut read = Vec::new();
    silent[0].read_to_end(&mut read).await.unwrap_or_default();
    assert_eq!(read, b"");
}

#[tokio::test]
async fn channel_finds_the_restarted_server_again() {
    let authority = Authority::new();
    let live = authority.host("cp1");
    let served = Served::anywhere(&live).await;
    let address = served.address;
    let mut host = VipClient::new(Peers::new(authority.host("cp2")).channel(address));
    assert_eq!(who(&mut host).await.unwrap(), "host:cp2");
    served.stop().await;
    let gone = who(&mut host).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unavailable);

    let _again = Served::at(address, &live).await;
    let deadline = khactl_sys::clock::monotonic() + Duration::from_secs(10);
    loop {
        match who(&mut host).await {
            Ok(name) => break assert_eq!(name, "host:cp2"),
            Err(error) => assert!(khactl_sys::clock::monotonic() < deadline, "{error}"),
        }
    }
}

#[tokio::test]
async fn replaced_certificate_is_shown_from_the_next_connection_on() {
    let authority = Authority::new();
    let live = authority.host("cp1");
    let served = Served::anywhere(&live).await;
    let before = Peers::new(authority.host("cp2"));
    before.set_members([(served.address, "cp1".to_owned())]);
    let mut before = VipClient::new(before.channel(served.address));
    who(&mut before).await.unwrap();

    live.replace(&authority.leaf("khactl:hosts", "khactl:host:cp9", (-1, 5)))
        .unwrap();
    let after = Peers::new(authority.host("cp2"));
    after.set_members([(served.address, "cp9".to_owned())]);
    who(&mut VipClient::new(after.channel(served.address)))
        .await
        .unwrap();
    // The open connection goes on.
    who(&mut before).await.unwrap();
}

#[tokio::test]
async fn key_of_another_certificate_is_not_taken_into_service() {
    let authority = Authority::new();
    let mut files = authority.leaf("khactl:admins", "ann", (-1, 5));
    files.key_pem = Zeroizing::new(KeyPair::generate().unwrap().serialize_pem());
    assert!(matches!(
        LiveCertificate::new(&files).unwrap_err(),
        NetError::Identity { .. }
    ));
}

#[tokio::test]
async fn probe_back_wants_the_very_key_the_joiner_asked_with() {
    let key = KeyPair::generate().unwrap();
    let answer = ProbeAnswer::start("127.0.0.1:0".parse().unwrap(), &key.serialize_pem())
        .await
        .unwrap();
    let address = answer.address();
    let expected = format!("sha256:{}", hex(&pin(&key)));
    probe_back(address, &expected).await.unwrap();

    let other = hex(&pin(&KeyPair::generate().unwrap()));
    let error = probe_back(address, &other).await.unwrap_err();
    assert!(matches!(error, DialError::WrongKey { .. }), "{error}");

    let taken = ProbeAnswer::start(address, &key.serialize_pem())
        .await
        .unwrap_err();
    assert!(matches!(taken, NetError::PortTaken { .. }), "{taken}");

    answer.close().await;
    let error = probe_back(address, &expected).await.unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }), "{error}");
    // The port is free for the agent itself.
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn probe_back_gives_up_on_a_port_that_stays_silent() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = probe_back(silent.local_addr().unwrap(), &"00".repeat(32))
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn unix_socket_is_private_and_refuses_a_second_agent() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("khad.sock");
    let socket = UnixSocket::bind(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(
        UnixSocket::bind(&path).unwrap_err(),
        NetError::AlreadyRunning { .. }
    ));
    drop(socket);
    assert!(!path.exists());
    UnixSocket::bind(&path).unwrap();
}

#[tokio::test]
async fn stale_unix_socket_is_replaced_and_an_answering_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("khad.sock");
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(
        UnixSocket::bind(&path).unwrap_err(),
        NetError::AlreadyRunning { .. }
    ));
    drop(other);
    UnixSocket::bind(&path).unwrap();

    std::fs::write(&path, "somebody's file").unwrap();
    assert!(matches!(
        UnixSocket::bind(&path).unwrap_err(),
        NetError::Socket { .. }
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's file");
}
